"""Two real wallets of one account (notify-client 0.11.3), every frame they exchanged.

Vectors: subscribe_transcript.json. Each of its entries is read with the core, and the run is
played again with our Cast Server, our W1 and our Wx in the place of the recorded ones.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.walletconnect.people import iv
from tests.walletconnect.vectors import load
from walletconnect.crypto.envelope import Envelope, open_envelope
from walletconnect.crypto.ethereum import recover_eip191
from walletconnect.crypto.keys import KeyPair, SymKey, derive_sym_key, hash_text
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.cacao import Cacao
from walletconnect.identity.did import AccountId, AppUrl, DidWebDocument, did_key
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify.claims import DeleteAuth, SubscriptionAuth
from walletconnect.notify.cold_start import replay_messages, replay_store
from walletconnect.notify.delete import answer_delete
from walletconnect.notify.message import read_receipt, receive_message
from walletconnect.notify.methods import DELETE, SUBSCRIBE, UPDATE
from walletconnect.notify.parties import (
    DappIdentity,
    WalletIdentity,
    claimed_identity,
    read_auth,
)
from walletconnect.notify.scope import NotificationType, ScopeMap
from walletconnect.notify.subscribe import (
    PendingSubscribe,
    adopt_subscription,
    answer_subscription,
    request_subscription,
    settle_subscription,
)
from walletconnect.notify.update import PendingUpdate, answer_update, settle_update
from walletconnect.notify.values import Metadata, NotifySubscription
from walletconnect.relay.auth import verify_client_auth
from walletconnect.relay.frames import (
    Delivery,
    Subscribe,
    Unsubscribe,
    split_method,
    subscription_id,
)
from walletconnect.relay.messages import Publication
from walletconnect.relay.methods import Tag
from walletconnect.relay.rpc import JsonRpcRequest, JsonRpcResult, parse
from walletconnect.sync.derivation import (
    NOTIFY_SUBSCRIPTION_STORE,
    check_sync_signature,
    derive_store_keys,
    sync_message,
)
from walletconnect.sync.store import StoreDelete, StoreSet, parse_update

TRANSCRIPT = load("subscribe_transcript")
KEYS = TRANSCRIPT["keys"]
CASES = TRANSCRIPT["cases"]
ACCOUNT = AccountId.parse(KEYS["account"])
CLIENTS = {"W1": KEYS["W1_client_id"], "W2": KEYS["W2_client_id"]}
X = KeyPair.from_private(bytes.fromhex(KEYS["X"]["priv"]))
Y = KeyPair.from_private(bytes.fromhex(KEYS["Y"]["priv"]))
Z = KeyPair.from_private(bytes.fromhex(KEYS["Z"]["priv"]))
S = SymKey.from_hex(KEYS["S"])
P = SymKey.from_hex(KEYS["P"])
STORE_KEY = SymKey.from_hex(KEYS["sync_store_key"])
DAPP_KEY = IdentityKey.from_seed(bytes.fromhex(KEYS["dapp_authentication"]["priv"]))
DAPP_URL = "http://localhost:7204"
KEYS_SERVER = "http://localhost:7201"
DAPP = DappIdentity(AppUrl.parse(DAPP_URL), DAPP_KEY, X, frozenset({KEYS_SERVER}))
IDENTITY_KEYS = {
    name: IdentityKey.from_seed(bytes.fromhex(key["seed"]))
    for name, key in KEYS["identity_keys"].items()
}
SEEN = TRANSCRIPT["events_seen_by_W1"]
SYM_KEYS = {key.topic: key for key in (S, P, STORE_KEY)}
RESULTS = {"responseAuth", "receiptAuth"}


def parameters(what: str) -> list:
    return [
        pytest.param(case, id=f"{number}")
        for number, case in enumerate(CASES)
        if case["what"] == what
    ]


def test_every_entry_is_of_a_kind_that_is_tested_here():
    kinds = {"websocket connect", "relay frame", "http", "server internals"}
    assert {case["what"] for case in CASES} == kinds
    assert len(CASES) == sum(len(parameters(kind)) for kind in kinds) == 89


@pytest.mark.parametrize("case", parameters("websocket connect"))
def test_a_connection_is_opened_by_a_valid_token(case):
    token = case["query"]["auth"]
    claims = case["auth_claims"]
    client_id = verify_client_auth(token, now=claims["iat"], audiences=[claims["aud"]])
    assert client_id in CLIENTS.values()
    assert DidJwt.parse(token).claims == claims


@pytest.mark.parametrize("case", parameters("server internals"))
def test_the_servers_keys_follow_from_z_and_y(case):
    made = KeyPair.from_private(bytes.fromhex(case["Z"]["priv"]))
    assert made.public_key.hex() == case["Z"]["pub"]
    public_key_y = bytes.fromhex(case["Y_public"])
    assert derive_sym_key(X, public_key_y) == SymKey.from_hex(case["S"])
    assert derive_sym_key(X, public_key_y).topic == case["response_topic"]
    assert derive_sym_key(made, public_key_y) == SymKey.from_hex(case["P"])
    assert derive_sym_key(made, public_key_y).topic == case["notify_topic"]


@pytest.mark.parametrize("case", parameters("http"))
def test_every_http_call_has_a_route_of_the_servers(case):
    url = urlsplit(case["url"])
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    match case["server"], case["method"], url.path:
        case "keys", "POST", "/identity":
            cacao = Cacao.from_value(case["body"]["cacao"])
            iat = int(CASES[14]["frame"]["id"][:10])
            assert (
                cacao.verify(now=iat, domain="localhost:7201", aud=KEYS_SERVER)
                == ACCOUNT
            )
            assert cacao.identity_key in {key.did for key in IDENTITY_KEYS.values()}
            assert cacao.to_value() == case["body"]["cacao"]
        case "keys", "GET", "/identity":
            assert f"did:key:{query['publicKey']}" == IDENTITY_KEYS["W1"].did
        case "history", "POST", "/register":
            tags = [Tag(int(tag)) for tag in case["body"]["tags"]]
            assert tags == [Tag.NOTIFY_MESSAGE, Tag.SYNC_SET, Tag.SYNC_DELETE]
        case "history", "GET", "/messages":
            assert query["topic"] in SYM_KEYS
        case "dapp", "GET", path:
            app = AppUrl.parse(DAPP_URL)
            names = ("did.json", "wc-notify-config.json")
            assert DAPP_URL + path in {app.well_known(name) for name in names}
        case "notify", "POST", "/p1/notify":
            assert case["body"]["accounts"] == [str(ACCOUNT)]
        case other:
            pytest.fail(f"unknown call {other}")


@pytest.mark.parametrize("case", parameters("relay frame"))
def test_every_frame_is_read(case):
    frame = case["frame"]
    payload = parse(json.dumps(frame))
    assert payload.id == frame["id"]
    assert json.loads(payload.to_json()) == frame
    if isinstance(payload, JsonRpcResult):
        return
    _, method = split_method(payload.method)
    if case["direction"] == "server->client":
        delivery = Delivery.from_params(payload.params)
        topic = delivery.published.topic
        assert frame["params"]["data"] == {
            "topic": topic,
            "message": delivery.published.message,
            "publishedAt": delivery.published.published_at,
            "tag": delivery.published.tag,
        }
        assert delivery.subscription_id == subscription_id(
            topic, CLIENTS[case["client"]]
        )
        check_message(case, delivery.published.topic, delivery.published.message)
        return
    kind = {
        "publish": Publication,
        "subscribe": Subscribe,
        "unsubscribe": Unsubscribe,
    }[method]
    call = kind.from_params(payload.params)
    assert call.to_params() == frame["params"]
    if isinstance(call, Publication):
        check_message(case, call.topic, call.message)


def check_message(case: dict, topic: str, message: str) -> None:
    """Open the message as its receiver does and compare with what was recorded."""
    decrypted = case["decrypted"]
    if not message:
        assert "keep-alive" in decrypted["note"]
        return
    envelope = Envelope.decode(message)
    assert envelope.type == decrypted["envelope_type"]
    if envelope.type == 1:
        assert topic == X.topic
        sym_key = envelope.derive_sym_key(X)
        assert envelope.sender_public_key.hex() == decrypted["sender_public_key"]
    else:
        sym_key = SYM_KEYS[topic]
    assert sym_key.hex() == decrypted["sym_key"]
    text = envelope.open(sym_key)
    assert text == decrypted["payload_text"]
    payload = parse(text)
    assert json.loads(payload.to_json()) == decrypted["payload"]
    for name, claims in decrypted.get("jwt_claims", {}).items():
        members = (
            payload.params if isinstance(payload, JsonRpcRequest) else payload.result
        )
        jwt = DidJwt.parse(members[name])
        assert jwt.claims == claims
        jwt.verify(now=claims["iat"], act=claims["act"], max_life=2_592_000)


# --- the run, played again ---


def opened(tag: int, *, nth: int = 0) -> JsonRpcRequest | JsonRpcResult:
    """The payload of the nth message with this tag that W1 or the server sent."""
    found = []
    for case in CASES:
        params = case.get("frame", {}).get("params", {})
        published = params.get("data", params)
        if published.get("tag") == tag and "payload_text" in case.get("decrypted", {}):
            text = case["decrypted"]["payload_text"]
            if text not in found:
                found.append(text)
    return parse(found[nth])


def messages(tag: int) -> list[str]:
    found = {}
    for case in CASES:
        params = case.get("frame", {}).get("params", {})
        published = params.get("data", params)
        if published.get("tag") == tag:
            found[published["message"]] = None
    return list(found)


def issued(payload: JsonRpcRequest | JsonRpcResult) -> int:
    members = payload.params if isinstance(payload, JsonRpcRequest) else payload.result
    return DidJwt.parse(next(iter(members.values()))).claims["iat"]


def cacao_of(device: str) -> Cacao:
    for case in CASES:
        if case.get("url") == "/identity" and case["method"] == "POST":
            cacao = Cacao.from_value(case["body"]["cacao"])
            if cacao.identity_key == IDENTITY_KEYS[device].did:
                return cacao
    raise AssertionError(device)


SUBSCRIPTION = NotifySubscription.from_value(
    SEEN["notify_subscription"]["params"]["subscription"]
)


def test_w1s_signatures_are_the_wallets():
    for each in KEYS["signed_messages"]:
        assert recover_eip191(each["message"], each["signature"]) == ACCOUNT.address
    signature = KEYS["signed_messages"][1]["signature"]
    assert KEYS["signed_messages"][1]["message"] == sync_message(ACCOUNT)
    check_sync_signature(ACCOUNT, signature)
    key = derive_store_keys(signature, [NOTIFY_SUBSCRIPTION_STORE])[
        NOTIFY_SUBSCRIPTION_STORE
    ]
    assert key == STORE_KEY
    assert key.topic == KEYS["sync_store_topic"]


def test_our_w1_asks_on_the_same_topics_with_the_same_keys():
    document = DidWebDocument("did:web:x", X.public_key, DAPP_KEY.public_key)
    asked = request_subscription(
        document,
        WalletIdentity(ACCOUNT, IDENTITY_KEYS["W1"], KEYS_SERVER),
        key_pair_y=Y,
        metadata=SUBSCRIPTION.metadata,
        scope=SUBSCRIPTION.scope,
        request_id=SEEN["notify_subscription"]["id"],
        iv=iv(),
        now=issued(opened(4000)),
    )
    assert asked.publish.topic == KEYS["subscribe_topic"]
    assert asked.response_topic == KEYS["response_topic"]
    assert asked.sym_key_s == S
    request = parse(Envelope.decode(asked.publish.message).open(S))
    ours = SubscriptionAuth.from_claims(
        DidJwt.parse(request.params["subscriptionAuth"]).claims
    )
    theirs = SubscriptionAuth.from_claims(
        DidJwt.parse(opened(4000).params["subscriptionAuth"]).claims
    )
    assert {**ours.to_claims(), "exp": 0} == {**theirs.to_claims(), "exp": 0}


def test_our_cast_server_answers_w1_as_the_recorded_one_did():
    request = opened(4000)
    now = issued(request)
    claimed = claimed_identity(request, SUBSCRIBE, allowed=[KEYS_SERVER])
    assert claimed.did == IDENTITY_KEYS["W1"].did
    answer = answer_subscription(
        request,
        DAPP,
        topic=X.topic,
        public_key_y=Y.public_key,
        identity=cacao_of("W1"),
        key_pair_z=Z,
        iv=iv(),
        now=now,
    )
    assert answer.sym_key_p == P
    assert answer.notify_topic == KEYS["notify_topic"]
    assert answer.publish.topic == KEYS["response_topic"]
    assert answer.publish.tag == 4001
    assert answer.account == ACCOUNT
    assert answer.scope == SUBSCRIPTION.scope.enabled
    assert answer.webhook == "subscribed"
    ours = parse(open_envelope(answer.publish.message, S))
    theirs = opened(4001)
    assert ours.id == theirs.id
    assert (
        DidJwt.parse(ours.result["responseAuth"]).claims
        == DidJwt.parse(theirs.result["responseAuth"]).claims
    )
    # The recorded server names the subscription in its messages by the same hash.
    sent = DidJwt.parse(opened(4002).params["messageAuth"]).claims
    assert answer.subscription_hash == sent["sub"]


def pending() -> PendingSubscribe:
    now = issued(opened(4000))
    return PendingSubscribe(
        request_id=opened(4000).id,
        account=ACCOUNT,
        identity_did=IDENTITY_KEYS["W1"].did,
        dapp_did=DAPP_KEY.did,
        response_topic=S.topic,
        metadata=SUBSCRIPTION.metadata,
        scope=SUBSCRIPTION.scope,
        expires_at=now + 30,
    )


def test_our_w1_settles_with_the_recorded_answer():
    answer = opened(4001)
    settled = settle_subscription(pending(), answer, key_pair_y=Y, now=issued(answer))
    assert settled.notify_topic == KEYS["notify_topic"]
    assert settled.subscription == SUBSCRIPTION
    recorded = parse_update(opened(5000))
    assert json.loads(settled.subscription.to_json()) == json.loads(recorded.value)


def test_our_wx_adopts_what_w1_announced():
    update = parse_update(opened(5000))
    assert isinstance(update, StoreSet)
    adoption = adopt_subscription(update, ACCOUNT, now=issued(opened(4001)))
    assert adoption.subscription == SUBSCRIPTION
    assert adoption.notify_topic == KEYS["notify_topic"]


def test_our_wallets_read_the_notification_and_our_server_their_receipts():
    request = opened(4002)
    received = receive_message(
        request, ACCOUNT, app=DAPP_URL, dapp_did=DAPP_KEY.did, now=issued(request)
    )
    assert received.message.to_value() == SEEN["notify_message"]["params"]["message"]
    for number, device in enumerate(["W1", "W2"]):
        receipt = read_receipt(
            opened(4003, nth=number),
            DAPP,
            account=ACCOUNT,
            identity=cacao_of(device),
            now=issued(request),
        )
        assert receipt.request_id == received.request_id == SEEN["notify_message"]["id"]
        assert receipt.message_hash == received.message_hash


def test_our_server_answers_the_update_and_our_w1_settles_it():
    request, theirs = opened(4008), opened(4009)
    answer = answer_update(
        request,
        DAPP,
        sym_key_p=P,
        account=ACCOUNT,
        identity=cacao_of("W1"),
        iv=iv(),
        now=issued(theirs),
    )
    updated = NotifySubscription.from_value(
        SEEN["notify_update"]["params"]["subscription"]
    )
    assert answer.scope == updated.scope.enabled == ("alerts",)
    ours = parse(open_envelope(answer.publish.message, P))
    assert (
        DidJwt.parse(ours.result["responseAuth"]).claims
        == DidJwt.parse(theirs.result["responseAuth"]).claims
    )
    asked = PendingUpdate(
        request_id=request.id,
        identity_did=IDENTITY_KEYS["W1"].did,
        dapp_did=DAPP_KEY.did,
        scope=SUBSCRIPTION.scope.with_enabled(["alerts"]),
        update_hash=hash_text(request.params[UPDATE.param]),
    )
    now = issued(theirs)
    settled = settle_update(asked, theirs, SUBSCRIPTION, now=now)
    assert settled.scope == updated.scope
    announced = NotifySubscription.from_json(parse_update(opened(5000, nth=1)).value)
    assert announced.scope == settled.scope


def test_our_server_accepts_the_recorded_delete():
    request = opened(4004)
    auth, account = read_auth_of_delete(request)
    assert auth.sub == "User unsubscribed."
    assert account == ACCOUNT
    answer = answer_delete(
        request,
        DAPP,
        sym_key_p=P,
        account=ACCOUNT,
        identity=cacao_of("W1"),
        subscription_hash="00" * 32,
        iv=iv(),
        now=issued(request),
    )
    assert answer.publish.tag == 4005


def read_auth_of_delete(request):
    return read_auth(
        DeleteAuth,
        request,
        DELETE,
        dapp=DAPP,
        identity=cacao_of("W1"),
        now=issued(request),
    )


def test_a_third_device_rebuilds_everything_from_the_archive():
    archived = [*messages(5002), *messages(5000)]
    updates = replay_store([*archived, "rubbish"], STORE_KEY)
    assert [type(each) for each in updates] == [
        StoreSet, StoreSet, StoreDelete, StoreDelete,
    ]  # fmt: skip
    now = issued(opened(4001))
    *_, last_set = replay_store(messages(5000), STORE_KEY)
    adoption = adopt_subscription(last_set, ACCOUNT, now=now)
    assert adoption.subscription.scope.enabled == ("alerts",)
    a_year_later = now + 365 * 86_400
    replayed = replay_messages(
        [*messages(4002), "rubbish", *messages(4002)],
        SUBSCRIPTION,
        dapp_did=DAPP_KEY.did,
        now=a_year_later,
    )
    assert [each.request_id for each in replayed] == [SEEN["notify_message"]["id"]]


def test_the_type_list_gives_w1_its_scope():
    scope = ScopeMap.of_types(
        NotificationType(setting.name, setting.description)
        for setting in SUBSCRIPTION.scope.settings
    )
    assert scope == SUBSCRIPTION.scope
    assert (
        Metadata.from_value(SUBSCRIPTION.metadata.to_value()) == SUBSCRIPTION.metadata
    )
    assert did_key(DAPP_KEY.public_key) == DAPP_KEY.did
