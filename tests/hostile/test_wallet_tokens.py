"""Forged and malformed did-jwts in messages to our devices.

Each message differs from a valid one in one place and is sealed with the right key, which all
clients of a notify topic have. All arrive in one batch, each is refused for its own reason,
nothing changes, and the valid message after them is accepted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.db import transaction

from common import clock, entropy
from keychain.services import Holder, signing_key, sym_keys
from subscriptions import services
from subscriptions.models import NotifyMessageRecord, SubscribeAttempt
from subscriptions.services.messages.messages import DAPP_CHANGED
from tests.hostile.tokens import (
    FORGED,
    FUTURE,
    HEADER,
    HOUR,
    MONTH,
    NO_JWT,
    STRANGER,
    TOO_LONG,
    encoded,
    malformed,
    with_unreduced_s,
    wrong,
)
from tests.hostile.unchanged import changed_since, contents, nothing_changes
from tests.people import sign_in_person
from tests.subscriptions.cast_server import CastServer, listed
from tests.subscriptions.conftest import requested, subscribed
from tests.subscriptions.world import deliver, sent
from walletconnect.crypto.base64url import encode_base64url
from walletconnect.crypto.envelope import open_envelope, seal
from walletconnect.crypto.keys import KeyPair, SymKey
from walletconnect.identity.did import AccountId, did_key
from walletconnect.notify.methods import GET_NOTIFICATIONS
from walletconnect.relay.rpc import JsonRpcError, parse

if TYPE_CHECKING:
    from walletconnect.crypto.signing import IdentityKey

EXPIRED = "expired: did-jwt has expired"
NOT_OURS = "mismatch: the subscription is another account's"


@dataclass
class Sender:
    """Builds messages of one method, valid unless changed."""

    tag: int
    sym_key: SymKey
    signer: IdentityKey
    claims: dict[str, Any]
    # Path of the token: ("params", "messageAuth") of a request, or in a result.
    place: tuple[str, str]
    # The id that a response refers to; requests have new ids.
    answers: int | None = None
    rpc_ids: list[int] = field(default_factory=list)

    def token(self, *, header=HEADER, signer=None, claims=None, **changes) -> str:
        chosen = self.claims | changes if claims is None else claims
        if isinstance(chosen, dict):
            chosen = {name: value for name, value in chosen.items() if value is not ...}
        signed = f"{encoded(header)}.{encoded(chosen)}"
        signature = (signer or self.signer).sign(signed.encode())
        return f"{signed}.{encode_base64url(signature)}"

    def message(self, token: object, **members: object) -> tuple[str, str, int]:
        part, name = self.place
        rpc_id = self.answers or clock.payload_id()
        self.rpc_ids.append(rpc_id)
        payload = {"id": rpc_id, "jsonrpc": "2.0", part: {name: token}}
        if part == "params":
            payload["method"] = "wc_notify"  # ignored, the tag decides
        text = json.dumps(payload | members)
        return self.sym_key.topic, seal(text, self.sym_key, iv=entropy.iv()), self.tag

    @property
    def act(self) -> str:
        return self.claims["act"]


def at(seconds, life=300):
    return {"iat": clock.now_s() + seconds, "exp": clock.now_s() + seconds + life}


# name: (change of the claims, reason of the refusal)
CLAIMS = {
    "a stranger": (lambda d: {"iss": STRANGER.did, "signer": STRANGER}, wrong("iss")),
    "a stranger in another's name": (lambda d: {"signer": STRANGER}, FORGED),
    "no signer": (lambda d: {"iss": ...}, malformed("claim iss")),
    "a signer with a zero character": (
        lambda d: {"iss": d.signer.did + "\x00"},
        malformed("claim iss"),
    ),
    "expired": (lambda d: at(-2 * MONTH), EXPIRED),
    "from the future": (lambda d: at(HOUR), FUTURE),
    "too long a life": (lambda d: at(0, life=2 * MONTH), TOO_LONG),
    "an end before its beginning": (lambda d: at(0, life=-1), TOO_LONG),
    "no iat": (lambda d: {"iat": ...}, malformed("claim iat")),
    "exp as text": (lambda d: {"exp": "tomorrow"}, malformed("claim exp")),
    "an exp that no number holds": (
        lambda d: {"exp": 10**400},
        malformed("did-jwt claims"),
    ),
    "another act": (lambda d: {"act": "notify_receipt"}, wrong("act")),
    "no act": (lambda d: {"act": ...}, wrong("act")),
}
OF_AN_APP = {
    "another app": (lambda d: {"app": "https://evil.example"}, wrong("app")),
    "an app below another name": (
        lambda d: {"app": d.claims["app"] + ".evil.example"},
        wrong("app"),
    ),
    "an app that is none": (lambda d: {"app": 7}, malformed("claim")),
    "an endless app": (
        lambda d: {"app": d.claims["app"] + "/" + "a" * 5000},
        "too_large: claim is too long",
    ),
    "no app": (lambda d: {"app": ...}, malformed("claims of {act}")),
}
TO_A_KEY = {
    "another identity": (lambda d: {"aud": STRANGER.did}, wrong("aud")),
    "no audience": (lambda d: {"aud": ...}, wrong("aud")),
    "a list of audiences": (lambda d: {"aud": [d.claims["aud"]]}, wrong("aud")),
}
# name: (replacement of the token, reason of the refusal)
TOKENS = {
    "no token": (lambda d: None, NO_JWT),
    "a number": (lambda d: 7, NO_JWT),
    "nothing": (lambda d: "", NO_JWT),
    "two parts": (lambda d: d.token().rpartition(".")[0], NO_JWT),
    "four parts": (lambda d: d.token() + ".x", NO_JWT),
    "a padded signature": (lambda d: d.token() + "==", malformed("base64url")),
    "no algorithm": (
        lambda d: d.token(header={"alg": "none", "typ": "JWT"}),
        malformed("did-jwt header"),
    ),
    "no signature": (
        lambda d: f"{encoded(HEADER)}.{encoded(d.claims)}.",
        malformed("did-jwt signature"),
    ),
    "claims that are a list": (
        lambda d: d.token(claims=[1]),
        malformed("did-jwt claims"),
    ),
    "a signature that is not reduced": (lambda d: with_unreduced_s(d.token()), FORGED),
}


def faults_of(sender, *more, without=(), **instead):
    """(message, reason) by name; ``instead`` overrides reasons for this method."""
    found = {}
    for claims in (CLAIMS, *more):
        for name, (change, reason) in claims.items():
            found[name] = sender.message(sender.token(**change(sender))), reason
    for name, (make, reason) in TOKENS.items():
        found[name] = sender.message(make(sender)), reason
    for name, reason in instead.items():
        plain = name.replace("_", " ")
        found[plain] = found[plain][0], reason
    return {
        name: (message, reason.format(act=sender.act))
        for name, (message, reason) in found.items()
        if name not in without
    }


def refuse_all(faults, valid, *, waiting=()):
    """Deliver them in one batch; check the reasons, and that nothing changed."""
    with nothing_changes():
        rows = deliver(*(message for message, _ in faults.values()))
    reasons = {name: row.reason for name, row in zip(faults, rows, strict=True)}
    assert reasons == {name: reason for name, (_, reason) in faults.items()}
    for row in rows:
        assert row.state == ("due" if row.reason in waiting else "refused")
    [row] = deliver(valid)
    assert (row.state, row.reason) == ("handled", "")


def answered(sym_key, tag):
    rows = [row for row in sent(tag) if row.topic == sym_key.topic]
    return [parse(open_envelope(row.message, sym_key)) for row in rows]


# --- notifications ----------------------------------------------------------------------


@pytest.fixture
def notifications(person, dapp):
    subscribed(person, dapp)
    claims = {
        "act": "notify_message",
        **at(0),
        "iss": dapp.key.did,
        "aud": AccountId.parse(person.account.address).did,
        "sub": "0" * 64,
        "app": dapp.url,
        "msg": {"title": "Hello", "body": "World", "type": "alerts"},
    }
    return Sender(
        4002,
        dapp.key_of(person.account),
        dapp.key,
        claims,
        ("params", "messageAuth"),
    )


IN_A_NOTIFICATION = {
    "another account": (
        lambda d: {"aud": "did:pkh:eip155:1:0x" + "d" * 40},
        NOT_OURS,
    ),
    "an account that is none": (
        lambda d: {"aud": "did:pkh:eip155"},
        malformed("account"),
    ),
    "no content": (lambda d: {"msg": ...}, malformed("claims of {act}")),
    "content that is a text": (
        lambda d: {"msg": "Hello"},
        malformed("claim msg"),
    ),
    "content without a title": (
        lambda d: {"msg": {"body": "World", "type": "alerts"}},
        malformed("notification"),
    ),
}


def test_a_forged_notification_is_not_stored(notifications):
    faults = faults_of(
        notifications,
        OF_AN_APP,
        IN_A_NOTIFICATION,
        # The dapp may have new keys, which the user has to accept first.
        a_stranger=DAPP_CHANGED,
    )
    valid = notifications.message(notifications.token())
    refuse_all(faults, valid, waiting={DAPP_CHANGED})
    errors = {
        name: reason.partition(": ")[2]
        for name, (_, reason) in faults.items()
        if reason.startswith(("malformed", "too_large"))
    }
    answers = answered(notifications.sym_key, 4003)
    # A malformed message gets an error response, so that it is not resent; a forged one none.
    assert answers[:-1] == [
        JsonRpcError(rpc_id, -1, errors[name])
        for rpc_id, name in zip(notifications.rpc_ids, faults, strict=False)
        if name in errors
    ]
    assert answers[-1].result["receiptAuth"]


def test_a_notification_without_a_valid_id_is_not_stored(notifications):
    ids = [0, -1, 2**63, 2**64 - 1, "7", "a", 10**30, 0.5, None, True, [], {}]
    with nothing_changes():
        rows = deliver(
            *(notifications.message(notifications.token(), id=each) for each in ids)
        )
    assert [row.state for row in rows] == ["refused"] * len(ids)
    assert answered(notifications.sym_key, 4003) == []


# --- answers to an update ---------------------------------------------------------------


@pytest.fixture
def update_answers(person, dapp):
    subscription = subscribed(person, dapp)
    services.update(subscription, {"news"}, person.device)
    subscription.refresh_from_db()
    pending = subscription.pending_update
    claims = {
        "act": "notify_update_response",
        **at(0),
        "iss": dapp.key.did,
        "ksu": settings.KEYS_SERVER_URL,
        "aud": pending["identityDid"],
        "sub": pending["updateHash"],
        "app": dapp.url,
    }
    return Sender(
        4009,
        dapp.key_of(person.account),
        dapp.key,
        claims,
        ("result", "responseAuth"),
        pending["rpcId"],
    )


IN_AN_UPDATE = {
    "an earlier update": (lambda d: {"sub": "0" * 64}, wrong("sub")),
    "no update": (lambda d: {"sub": ...}, malformed("claims of {act}")),
    "another account": (
        lambda d: {
            "app": d.claims["app"].replace("http://", "did:web:"),
            "sub": "did:pkh:eip155:1:0x" + "d" * 40,
        },
        wrong("sub"),
    ),
}


def test_a_forged_response_leaves_an_update_waiting(person, update_answers):
    sender = update_answers
    refuse_all(
        faults_of(sender, OF_AN_APP, TO_A_KEY, IN_AN_UPDATE),
        sender.message(sender.token()),
    )
    row = person.account.subscriptions.get()
    assert {name for name, each in row.scope.items() if each["enabled"]} == {"news"}
    with nothing_changes():
        [row] = deliver(sender.message(sender.token()))
    assert row.reason == "no update waits for this answer"


def test_a_response_to_another_request_is_dropped(update_answers):
    sender = update_answers
    with nothing_changes():
        rows = deliver(
            sender.message(sender.token(), id=sender.answers + 1),
            sender.message(sender.token(), id=str(sender.answers)),
            sender.message(sender.token(), method="wc_notifyUpdate"),
        )
    assert {row.state for row in rows} == {"refused"}


# --- answers to a subscribe -------------------------------------------------------------


@pytest.fixture
def subscribe_answers(person, dapp):
    attempt = requested(person, dapp)
    key_z = KeyPair.from_private(b"z" * 32).public_key
    claims = {
        "act": "notify_subscription_response",
        **at(0),
        "iss": dapp.key.did,
        "ksu": settings.KEYS_SERVER_URL,
        "aud": attempt.identity_did,
        "sub": did_key(key_z),
        "app": dapp.url,
    }
    topic = attempt.response_topic
    return Sender(
        4001,
        sym_keys(Holder.WALLET, [topic])[topic],
        dapp.key,
        claims,
        ("result", "responseAuth"),
        attempt.rpc_id,
    )


IN_A_SUBSCRIBE = {
    "a key that is none": (lambda d: {"sub": "did:key:z6Mk"}, malformed("did:key")),
    "no key": (lambda d: {"sub": ...}, malformed("claims of {act}")),
    "a key that agrees on nothing": (
        lambda d: {"sub": did_key(bytes(32))},
        malformed("public key"),
    ),
}
# Only the dapp has the key of this topic, so one bad response ends the attempt.
OF_THE_ATTEMPT = {
    "accounts_accountevent",
    "accounts_user",
    "keychain_keypairentry",
    "keychain_symkeyentry",
    "messaging_topicsubscription",
    "subscriptions_subscribeattempt",
}


def test_a_forged_response_ends_the_attempt_and_creates_nothing(subscribe_answers):
    faults = faults_of(subscribe_answers, OF_AN_APP, TO_A_KEY, IN_A_SUBSCRIBE)
    before = contents()
    for name, (message, reason) in faults.items():
        with transaction.atomic():
            [row] = deliver(message)
            assert (name, row.state, row.reason) == (name, "refused", reason)
            attempt = SubscribeAttempt.objects.get()
            assert attempt.state in {"rejected", "expired"}
            assert attempt.reason
            assert changed_since(before).keys() <= OF_THE_ATTEMPT
            # The valid response after it is too late.
            [row] = deliver(subscribe_answers.message(subscribe_answers.token()))
            assert row.state == "refused"
            transaction.set_rollback(True)
    [row] = deliver(subscribe_answers.message(subscribe_answers.token()))
    assert row.state == "handled"
    assert SubscribeAttempt.objects.get().state == "synced"


# --- deletes ----------------------------------------------------------------------------


@pytest.fixture
def deletes(person, dapp):
    """Deletes sent by the dapp."""
    subscribed(person, dapp)
    claims = {
        "act": "notify_delete",
        **at(0),
        "iss": dapp.key.did,
        "ksu": settings.KEYS_SERVER_URL,
        "aud": AccountId.parse(person.account.address).did,
        "sub": "over",
        "app": dapp.url,
    }
    return Sender(
        4004, dapp.key_of(person.account), dapp.key, claims, ("params", "deleteAuth")
    )


UNKNOWN = "the signer is not known"


def test_a_forged_delete_of_the_dapp_ends_nothing(deletes):
    refuse_all(
        faults_of(deletes, OF_AN_APP, a_stranger=UNKNOWN),
        deletes.message(deletes.token()),
    )


def test_a_forged_delete_of_another_wallet_ends_nothing(person, deletes):
    other = _key_of(person.devices[1])
    deletes.claims |= {"iss": other.did, "aud": deletes.signer.did}
    deletes.signer = other
    bob = _key_of(sign_in_person("bob").device)
    of_accounts = {
        "another account's key": (
            lambda d: {"iss": bob.did, "signer": bob},
            "mismatch: cacao is not about this key and account",
        ),
        "another key server": (
            lambda d: {"ksu": "https://keys.evil.example"},
            wrong("ksu"),
        ),
        "no key server": (lambda d: {"ksu": ...}, malformed("claim ksu")),
    }
    refuse_all(
        faults_of(deletes, OF_AN_APP, of_accounts, a_stranger=UNKNOWN),
        deletes.message(deletes.token()),
    )


def _key_of(device):
    return signing_key(Holder.IDENTITY, device.identity_keys.get().did)


# --- lists ------------------------------------------------------------------------------


@pytest.fixture
def server(settings):
    made = CastServer()
    settings.CAST_SERVER_URL = made.url
    yield made
    made.close()


@pytest.fixture
def lists(person, dapp, server):
    """Changed lists, after a first list."""
    services.watch_accounts()
    entry = listed(person, dapp)
    deliver(server.answer(entry))
    watcher = server.watcher
    claims = {
        "act": "notify_subscriptions_changed",
        **at(0),
        "iss": server.key.did,
        "aud": watcher.identity_did,
        "sub": watcher.account.did,
        "sbs": [entry.to_value()],
    }
    return Sender(
        4012,
        watcher.sym_key,
        server.key,
        claims,
        ("params", "subscriptionsChangedAuth"),
    )


def in_a_list(entry):
    """The list with one change in its element."""

    def element(name, **change):
        return lambda d: {"sbs": [{**entry, **change}]}

    return {
        "another account": (
            lambda d: {"sub": "did:pkh:eip155:1:0x" + "d" * 40},
            NOT_OURS,
        ),
        "an account that is none": (
            lambda d: {"sub": "did:pkh:eip155"},
            malformed("account"),
        ),
        "no list": (lambda d: {"sbs": ...}, malformed("claims of {act}")),
        "a list that is none": (lambda d: {"sbs": {}}, malformed("claim sbs")),
        "an endless list": (
            lambda d: {"sbs": [0] * 1001},
            malformed("claim sbs"),
        ),
        "older than the last": (
            lambda d: at(-60),
            "older than a list that was applied",
        ),
        "somebody else's subscription": (
            element("account", account="eip155:1:0x" + "d" * 40),
            NOT_OURS,
        ),
        "a key that is none": (
            element("symKey", symKey="00"),
            malformed("symmetric key"),
        ),
        "an end that is none": (element("expiry", expiry=-1), malformed("expiry")),
    }


def test_a_forged_list_changes_nothing(lists):
    [entry] = lists.claims["sbs"]
    refuse_all(
        faults_of(lists, TO_A_KEY, in_a_list(entry)),
        lists.message(lists.token()),
    )


# --- pages of notifications -------------------------------------------------------------


@pytest.fixture
def pages(person, dapp):
    """Pages in which a notification is read that is unread here."""
    subscribed(person, dapp)
    deliver(dapp.notification(person.account))
    note = {"id": "one", "title": "Hello", "body": "World", "type": "alerts"}
    claims = {
        "act": "notify_get_notifications_response",
        **at(0),
        "iss": dapp.key.did,
        "mjv": "1",
        "aud": _key_of(person.device).did,
        "sub": AccountId.parse(person.account.address).did,
        "app": dapp.url.replace("http://", "did:web:"),
        "nfs": [note | {"is_read": True, "sent_at": clock.now_ms()}],
        "mre": False,
        "mur": False,
    }
    NotifyMessageRecord.objects.update(notification_id="one")
    return Sender(
        4015,
        dapp.key_of(person.account),
        dapp.key,
        claims,
        ("result", GET_NOTIFICATIONS.result),
        answers=7,
    )


IN_A_PAGE = {
    "another account": (
        lambda d: {"sub": "did:pkh:eip155:1:0x" + "d" * 40},
        NOT_OURS,
    ),
    "no page": (lambda d: {"nfs": ...}, malformed("claims of {act}")),
    "a page that is none": (lambda d: {"nfs": {}}, malformed("claim nfs")),
    "an endless page": (lambda d: {"nfs": [0] * 1001}, malformed("claim nfs")),
    "a notification that is none": (
        lambda d: {"nfs": [7]},
        malformed("notification"),
    ),
    "a flag that is none": (lambda d: {"mre": "no"}, malformed("claim")),
}


def test_a_forged_page_marks_nothing_as_read(pages):
    refuse_all(
        faults_of(pages, OF_AN_APP, IN_A_PAGE),
        pages.message(pages.token()),
    )
    assert NotifyMessageRecord.objects.get().read_at is not None


# --- messages for other parties --------------------------------------------------------


# tag: reason of the refusal on a notify topic
OUT_OF_PLACE = {
    **dict.fromkeys((4003, 4005, 4008), "meant for the dapp or for another wallet"),
    **dict.fromkeys(
        (4000, 4007, 4010, 4013, 4014, 4050, 5001, 0), "no handler for this tag"
    ),
    4001: "no subscribe attempt waits for this answer",
    4009: "no update waits for this answer",
    4011: "no account watches on this topic",
    4012: "no account watches on this topic",
    4015: "not an answer",
    5000: "no store has this topic",
    5002: "no store has this topic",
}


def test_other_tags_are_dropped_on_a_notify_topic(deletes):
    messages = []
    for tag in OUT_OF_PLACE:
        deletes.tag = tag
        messages.append(deletes.message(deletes.token()))
    with nothing_changes():
        rows = deliver(*messages)
    assert {row.tag: row.reason for row in rows} == OUT_OF_PLACE


def test_a_notification_before_its_subscription_is_dropped(person, dapp, notifications):
    """There is no key to open it; the mailbox of the relay keeps it."""
    stray = SymKey(entropy.key_bytes())
    notifications.sym_key = stray
    with nothing_changes():
        [row] = deliver(notifications.message(notifications.token()))
    assert (row.state, row.reason) == ("refused", "no key for this topic")
