"""Requests that the released client of August 2023 sent, byte for byte.

``tests/vectors/subscribe_transcript.json`` holds every frame of notify-client 0.11.3 in two
wallets; here its messages meet our Cast Server, with the clock of that day.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from castserver.models import Delivery, Notification, Project, Subscriber
from common import clock
from identity.models import KnownIdentity
from keychain import services as keychain
from messaging import services as messaging
from messaging.models import InboxMessage, Party
from tests.castserver.world import claims_of, open_last, sent
from walletconnect.crypto.keys import KeyPair, SymKey
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.did import AccountId
from walletconnect.relay.rpc import parse

TRANSCRIPT = json.loads(
    (Path(__file__).parents[1] / "vectors/subscribe_transcript.json").read_text()
)
KEYS = TRANSCRIPT["keys"]
CASES = TRANSCRIPT["cases"]
KEYS_SERVER = "http://localhost:7201"
HOLDER = keychain.Holder.CAST


def published(tag, client="W1"):
    """What a wallet published under a tag."""
    return [
        case["frame"]["params"]
        for case in CASES
        if case["what"] == "relay frame"
        and case["client"] == client
        and case["frame"].get("method") == "irn_publish"
        and case["frame"]["params"]["tag"] == tag
    ]


def answered(tag):
    """The claims of what the server of that day answered."""
    for case in CASES:
        decrypted = case.get("decrypted")
        frame = case.get("frame", {})
        pushed = frame.get("params", {}).get("data", {})
        if decrypted and pushed.get("tag") == tag:
            return claims_of(decrypted["payload"]["result"]["responseAuth"])
    raise LookupError(tag)


@pytest.fixture
def that_day():
    [subscribe] = published(4000)
    when = next(
        case["decrypted"]["payload"]["id"]
        for case in CASES
        if case.get("frame", {}).get("params") == subscribe
    )
    with clock.frozen(datetime.fromtimestamp(when // 1_000_000, UTC)):
        yield


@pytest.fixture
def recorded(that_day, settings):
    """The dapp of the transcript, and the identities its key server knew."""
    settings.ALLOWED_KEYS_SERVERS = [*settings.ALLOWED_KEYS_SERVERS, KEYS_SERVER]
    pair = KeyPair.from_private(bytes.fromhex(KEYS["X"]["priv"]))
    key = IdentityKey.from_seed(bytes.fromhex(KEYS["dapp_authentication"]["priv"]))
    keychain.put_key_pair(HOLDER, pair)
    keychain.put_signing_key(HOLDER, key)
    for case in CASES:
        if case["what"] == "http" and case["url"] == "/identity":
            cacao = case["body"]["cacao"]
            KnownIdentity.objects.create(
                did=cacao["p"]["resources"][0],
                keys_server=KEYS_SERVER,
                cacao=json.dumps(cacao),
                checked_at=clock.now(),
            )
    return Project.objects.create(
        id="1" * 32,
        name="dapp",
        slug="dapp",
        url="http://localhost:7204",
        subscribe_topic=pair.topic,
        public_key_x=pair.public_key.hex(),
        authentication_did=key.did,
        last_modified=clock.now(),
        created_at=clock.now(),
    )


def deliver(params):
    [pk] = messaging.receive(
        Party.CAST,
        [
            messaging.Received(
                params["topic"], params["message"], params["tag"], clock.now_ms()
            )
        ],
    )
    assert messaging.handle_due(20.0) is False
    return InboxMessage.objects.get(pk=pk)


def subscribed(project):
    """The subscription of the transcript, with its own key P."""
    key = SymKey.from_hex(KEYS["P"])
    keychain.put_sym_keys(HOLDER, [key])
    return key, Subscriber.objects.create(
        project=project,
        account=KEYS["account"],
        account_key=AccountId.parse(KEYS["account"]).key,
        topic=key.topic,
        scope=["gm_hourly"],
        app=project.url,
        expires_at=clock.now() + timedelta(days=30),
        subscription_hash="0" * 64,
        last_iat=0,
        last_word_at=clock.now(),
        identity_did="",
        created_at=clock.now(),
    )


def test_its_subscribe_response_has_the_same_members(recorded):
    [params] = published(4000)
    assert deliver(params).state == "handled"
    row = Subscriber.objects.get()
    assert row.account == KEYS["account"]
    assert row.scope == [
        "promotional",
        "transactional",
        "private",
        "alerts",
        "gm_hourly",
    ]
    sym_key_s = SymKey.from_hex(KEYS["S"])
    assert sym_key_s.topic == KEYS["response_topic"]
    answer = parse(open_last(sym_key_s))
    ours, theirs = claims_of(answer.result["responseAuth"]), answered(4001)
    assert ours.keys() == theirs.keys()
    changed = {name for name in ours if ours[name] != theirs[name]}
    # Only Z is new; the clock may have ticked.
    assert changed <= {"sub", "iat", "exp"}
    assert ours["sub"].startswith("did:key:z6Mk")


def test_its_update_response_has_the_same_members(recorded):
    key, row = subscribed(recorded)
    [params] = published(4008)
    assert deliver(params).state == "handled"
    row.refresh_from_db()
    assert row.scope == ["alerts"]
    ours = claims_of(parse(open_last(key, 4009)).result["responseAuth"])
    theirs = answered(4009)
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} <= {"iat", "exp"}


def test_its_receipts_of_both_wallets_are_one(recorded):
    _, row = subscribed(recorded)
    notification = Notification.objects.create(
        project=recorded,
        type="gm_hourly",
        title="Hello",
        body="World",
        created_at=clock.now(),
    )
    message_id = next(
        case["decrypted"]["payload"]["id"]
        for case in CASES
        if case.get("decrypted", {}).get("payload", {}).get("method")
        == "wc_notifyMessage"
    )
    Delivery.objects.create(
        id="00000000-0000-7000-8000-000000000001",
        notification=notification,
        subscriber=row,
        rpc_id=message_id,
        created_at=clock.now(),
        sent_at=clock.now(),
    )
    receipts = published(4003, "W1") + published(4003, "W2")
    assert len(receipts) == 2
    assert [deliver(each).state for each in receipts] == ["handled", "handled"]
    assert Delivery.objects.get().receipt_at is not None


def test_its_delete_ends_the_subscription_and_the_echo_is_noise(recorded):
    key, row = subscribed(recorded)
    [params] = published(4004)
    assert deliver(params).state == "handled"
    row.refresh_from_db()
    assert row.deleted_at is not None
    assert len(sent(key.topic, 4005)) == 1
    # The other wallet treats it as the server's request and answers it.
    for echo in published(4005, "W2"):
        assert deliver(echo).state == "refused"
    assert len(sent(key.topic)) == 1
