"""What is fuzzed: every parser of the protocol core and of the relay's frames.

A target takes bytes. It returns, or raises ``RemoteProtocolError`` (or the error that the
parser documents); any other exception is a finding, and so is a value that does not survive
being written and read again. Where a signature would stop all random input, the target signs
and seals its bytes with the right keys, as the strongest attacker does.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import clock
from common.dapp_urls import NotAnAddress, parse_dapp_url
from common.links import NotALink, check_link
from common.outbound_urls import OutboundRefused, check_url
from dashboard import consumers
from dashboard.live import Cursor
from relayserver.connections.connect_request import ConnectRefused, ConnectRequest
from tests.walletconnect.conversation import ANSWER, SUBSCRIPTION, arrived, ask
from tests.walletconnect.people import DAPP, KEY_PAIR_Y, KEY_PAIR_Z, NOW, W1, iv
from walletconnect.crypto import base64url, ethereum, multikey
from walletconnect.crypto.envelope import Envelope, open_envelope, seal
from walletconnect.crypto.keys import SymKey, check_public_key, parse_topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity import contract_wallet, did, registration, siwe, web_host
from walletconnect.identity.app_url import AppUrl, is_did_web
from walletconnect.identity.authorization import authorization_of
from walletconnect.identity.cacao import Cacao, CacaoPayload
from walletconnect.identity.jwt import DidJwt, Times, sign_encoded
from walletconnect.json_values import (
    JsonObject,
    dump_json,
    parse_document,
    parse_json,
    parse_object,
    plain_line,
    shown_line,
)
from walletconnect.notify import (
    claims,
    delete,
    message,
    methods,
    read_state,
    scope,
    server_list,
    subscribe,
    update,
    values,
    watch,
    watch_claims,
)
from walletconnect.notify.cold_start import replay_messages, replay_store
from walletconnect.notify.config import NotifyConfig
from walletconnect.notify.dialect import dialect_of
from walletconnect.notify.handover import read_handover
from walletconnect.notify.parties import claimed_identity
from walletconnect.notify.server_subscription import ServerSubscription
from walletconnect.relay import frames, messages, session_calls
from walletconnect.relay.auth import make_client_auth, verify_client_auth
from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest, JsonRpcResult, parse
from walletconnect.sync.derivation import check_sync_signature
from walletconnect.sync.store import StoreSet, parse_update

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
KEY = SymKey(bytes(range(32)))
AUDIENCES = frozenset({"https://keys.example.org"})


@dataclass(frozen=True)
class Target:
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    # What a caller handles; anything else ends its request with a 500.
    refusals: tuple[type[Exception], ...] = (RemoteProtocolError,)

    def __call__(self, data: bytes) -> bool:
        """Whether the input was accepted."""
        try:
            self.run(data)
        except self.refusals:
            return False
        return True


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def each(*functions: Callable[[Any], object]) -> Callable[[Any], None]:
    """Call all; a refusal of one must not hide the next."""

    def run(value: Any) -> None:
        for function in functions:
            try:
                function(value)
            except RemoteProtocolError:
                continue

    return run


def written_again(read: Callable[[Any], Any]) -> Callable[[Any], None]:
    """``read``, written as JSON, and read again: it must be written as the same text."""

    def run(value: Any) -> None:
        text = dump_json(read(value).to_value())
        assert dump_json(read(parse_json(text)).to_value()) == text

    return run


# --- JSON and JSON-RPC ------------------------------------------------------------------


def json_text(data: bytes) -> None:
    value = parse_json(data)
    written = dump_json(value)
    assert parse_json(written) == value
    # What is stored in PostgreSQL and written by json must hold it, too.
    json.dumps(value, allow_nan=False).encode()
    assert "\n" not in plain_line(written, max_length=100)
    shown_line(value, max_length=100)


def json_rpc(data: bytes) -> None:
    payload = parse(data)
    assert parse(payload.to_json()) == payload


# --- envelopes and keys -----------------------------------------------------------------


def envelope(data: bytes) -> None:
    found = Envelope.decode(text_of(data))
    for use in (
        lambda: found.open(KEY),
        lambda: found.open(found.derive_sym_key(KEY_PAIR_Y)),
    ):
        each(lambda _, use=use: use())(None)


def sealed(data: bytes) -> None:
    """A peer with the key may put any text into an envelope."""
    text = text_of(data)
    assert open_envelope(seal(text, KEY, iv=iv()), KEY) == text
    sender = KEY_PAIR_Z.public_key
    assert Envelope.decode(seal(text, KEY, iv=iv(), sender=sender)).open(KEY) == text
    json_rpc(data)


def key_texts(data: bytes) -> None:
    text = text_of(data)
    each(
        parse_topic,
        SymKey.from_hex,
        base64url.decode_base64url,
        multikey.decode_multikey,
        did.public_key_of,
        lambda value: check_public_key(value.encode()),
        lambda value: ethereum.recover_eip191("text", value),
        contract_wallet.read_signature,
        contract_wallet.read_chain_id,
        partial(check_sync_signature, W1.account),
    )(text)
    ethereum.is_address(text)
    did.is_did_key(text)


# --- identities -------------------------------------------------------------------------


def did_jwt(data: bytes) -> None:
    jwt = DidJwt.parse(text_of(data))
    each(
        lambda _: jwt.iss,
        lambda _: jwt.act,
        lambda _: jwt.issued_at,
        lambda _: verify_client_auth(jwt.text, now=NOW),
        lambda _: read_handover(jwt.text, now=NOW),
        lambda _: jwt.verify(now=NOW, act=None, max_life=10**9, times=Times.EITHER),
        *(
            lambda _, act=act: registration.read_keys_server_auth(
                jwt.text, act, now=NOW, audiences=AUDIENCES
            )
            for act in registration.KeysServerAct
        ),
    )(None)


def own_token(data: bytes) -> None:
    """Claims of any text, with a valid signature."""
    claims_part = base64url.encode_base64url(data)
    did_jwt(sign_encoded(claims_part, W1.identity_key).encode())


def names(data: bytes) -> None:
    text = text_of(data)
    each(
        lambda value: _same(AppUrl.parse, value),
        AppUrl.of_did,
        lambda value: _same(did.AccountId.parse, value),
        did.account_of,
        did.with_chain,
        is_did_web,
        subscribe.locate_dapp,
        dialect_of,
        scope.split_scope,
        scope.require_scope_name,
        lambda value: server_list.listed_app(value, server=DAPP.url),
        lambda value: registration.names_server(value, AUDIENCES),
        frames.split_method,
    )(text)


def _same(read: Callable[[str], Any], text: str) -> None:
    found = read(text)
    assert read(str(found)) == found
    assert isinstance(found.did, str)


def addresses(data: bytes) -> None:
    text = text_of(data)
    for function, refusal in (
        (parse_dapp_url, NotAnAddress),
        (check_url, OutboundRefused),
        (check_link, NotALink),
        (web_host.normalize_host, ValueError),
    ):
        with contextlib.suppress(refusal):
            found = function(text)
            # The normal form is its own normal form, else two spellings name one dapp.
            assert function is check_link or function(str(found)) == found


def cacao(data: bytes) -> None:
    value = parse_json(data)
    each(
        CacaoPayload.from_value,
        _verified_cacao,
        contract_wallet.read_verdict,
        lambda each: (
            siwe.recap_of(tuple(map(str, each["resources"])))
            if isinstance(each, dict) and isinstance(each.get("resources"), list)
            else None
        ),
    )(value)
    each(contract_wallet.ContractCheck.from_json, Cacao.from_json)(text_of(data))


def _verified_cacao(value: Any) -> None:
    found = Cacao.from_value(value)
    assert Cacao.from_value(parse_json(dump_json(found.to_value()))) == found
    each(
        lambda _: found.verify(now=NOW),
        lambda _: found.verify_except_times(),
        lambda _: found.account.same_as(W1.account),
        lambda _: found.identity_key,
        lambda _: found.contract_check.digest,
        lambda _: authorization_of(found).require("dapp.example.org"),
        lambda _: found.payload.signed_text.texts(),
    )(None)


# --- documents and values ---------------------------------------------------------------


def web_document(data: bytes) -> None:
    members = parse_document(data)
    each(
        written_again(did.DidWebDocument.from_value),
        did.document_id,
        did.key_agreement_of,
        did.authentication_of,
        lambda value: did.is_id_of(str(value.get("id")), DAPP.url),
        NotifyConfig.from_value,
    )(members)
    each(did.DidWebDocument.from_json)(data)


def notify_values(data: bytes) -> None:
    value = parse_json(data)
    each(
        written_again(values.Metadata.from_value),
        written_again(values.NotifySubscription.from_value),
        written_again(values.NotifyMessage.from_value),
        written_again(scope.ScopeMap.from_value),
        written_again(ServerSubscription.from_value),
        scope.NotificationType.from_value,
        values.read_icons,
        lambda each: values.NotifyMessage.from_value(each).check_outgoing(),
    )(value)
    each(values.NotifySubscription.from_json)(text_of(data))


CLAIM_SETS = tuple(
    found
    for module in (claims, watch_claims)
    for found in vars(module).values()
    if isinstance(found, type)
    and issubclass(found, claims.Claims)
    and found is not claims.Claims
)


def claim_sets(data: bytes) -> None:
    members = parse_object(data)
    for claim_set in CLAIM_SETS:
        each(
            lambda value, claim_set=claim_set: _rewritten(
                claim_set, value | {"act": claim_set.act}
            )
        )(members)


def _rewritten(claim_set: type[claims.Claims], members: JsonObject) -> None:
    found = claim_set.from_claims(members)
    written = found.to_claims()
    again = claim_set.from_claims(parse_object(dump_json(written)))
    assert again.to_claims() == written
    for name in ("account", "message", "message_hash", "public_key_z"):
        each(lambda value, name=name: getattr(value, name, None))(found)


# --- the relay --------------------------------------------------------------------------

PARAMETERS = tuple(
    found.from_params
    for module in (frames, messages, session_calls)
    for found in vars(module).values()
    if isinstance(found, type) and hasattr(found, "from_params")
)


def relay_frame(data: bytes) -> None:
    payload = parse(data)
    if isinstance(payload, JsonRpcRequest):
        each(frames.split_method)(payload.method)
        each(*PARAMETERS, messages.PublishedMessage.from_value)(payload.params)


def connect_request(data: bytes) -> None:
    target, _, authorization = text_of(data).partition("\n")
    with clock.frozen(datetime.fromtimestamp(NOW, UTC)):
        ConnectRequest.read(target, authorization or None).admit()


def live_frame(data: bytes) -> None:
    frame = consumers._parse_frame(text_of(data))
    assert frame is None or frame["type"] in {"resume", "ack"}
    if frame is not None and frame["type"] == "resume":
        Cursor.of(frame["generation"], frame["sequence"])


# --- the shared store -------------------------------------------------------------------


def store_update(data: bytes) -> None:
    payload = parse(data)
    if isinstance(payload, JsonRpcRequest):
        found = parse_update(payload)
        if isinstance(found, StoreSet):
            each(lambda _: subscribe.adopt_subscription(found, W1.account, now=NOW))(
                None
            )
    text = text_of(data)
    assert len(replay_store([seal(text, KEY, iv=iv()), text], KEY)) <= 1


def adoption(data: bytes) -> None:
    entry = StoreSet(str(SUBSCRIPTION.topic), text_of(data), 1)
    subscribe.adopt_subscription(entry, W1.account, now=NOW)


def history(data: bytes) -> None:
    """Archived messages, which anybody who knows the topic could have published."""
    text = text_of(data)
    messages_ = [seal(text, SUBSCRIPTION.sym_key, iv=iv()), text]
    replay_messages(messages_, SUBSCRIPTION, dapp_did=DAPP.key.did, now=NOW)


# --- conversations: any claims, signed and sealed by the right peer ----------------------

ASKED = ask()
UPDATE = update.request_update(
    SUBSCRIPTION,
    W1.identity,
    enabled={"alerts"},
    dapp_did=DAPP.key.did,
    request_id=NOW * 1_000_000 + 9,
    iv=iv(),
    now=NOW,
)
WATCH = watch.request_watch(
    DAPP.document,
    W1.identity,
    key_pair=KEY_PAIR_Y,
    app=None,
    request_id=NOW * 1_000_000 + 11,
    iv=iv(),
    now=NOW,
)
PENDING_WATCH = WATCH.pending
SERVER = watch.NotifyServer(DAPP.key, DAPP.key_pair_x, AUDIENCES)


def _request(method: methods.Method, token: str) -> JsonRpcRequest:
    return JsonRpcRequest(7, method.name, {method.param: token})


def _result(method: methods.Method, token: str, request_id: Any) -> JsonRpcResult:
    return JsonRpcResult(request_id, {method.result: token})


def conversation(data: bytes) -> None:
    """Every receiver of a token, with the claims in ``data``."""
    members = parse_object(data)
    for act, signer, receive in RECEIVERS:
        signed = members | {"act": act, "iss": signer.did}
        token = sign_encoded(
            base64url.encode_base64url(dump_json(signed).encode()), signer
        )
        each(receive)(token)


_AS_DAPP: dict[str, Any] = {"dapp": DAPP.identity, "now": NOW}
_BY_W1: dict[str, Any] = {"account": W1.account, "identity": W1.cacao, "now": NOW}
_OF_DAPP: dict[str, Any] = {"app": str(DAPP.url), "dapp_did": DAPP.key.did, "now": NOW}
RECEIVERS: tuple[tuple[str, Any, Callable[[str], object]], ...] = (
    (
        claims.SubscriptionAuth.act,
        W1.identity_key,
        lambda token: subscribe.answer_subscription(
            _request(methods.SUBSCRIBE, token),
            DAPP.identity,
            topic=ASKED.publish.topic,
            public_key_y=KEY_PAIR_Y.public_key,
            identity=W1.cacao,
            key_pair_z=KEY_PAIR_Z,
            iv=iv(),
            now=NOW,
        ),
    ),
    (
        claims.SubscriptionAuth.act,
        W1.identity_key,
        lambda token: claimed_identity(
            _request(methods.SUBSCRIBE, token), methods.SUBSCRIBE, allowed=AUDIENCES
        ),
    ),
    (
        claims.SubscriptionResponseAuth.act,
        DAPP.key,
        lambda token: subscribe.settle_subscription(
            ASKED.pending,
            _result(methods.SUBSCRIBE, token, ASKED.pending.request_id),
            key_pair_y=KEY_PAIR_Y,
            now=NOW,
        ),
    ),
    (
        claims.UpdateAuth.act,
        W1.identity_key,
        lambda token: update.answer_update(
            _request(methods.UPDATE, token),
            DAPP.identity,
            sym_key_p=SUBSCRIPTION.sym_key,
            iv=iv(),
            **_BY_W1,
        ),
    ),
    (
        claims.UpdateResponseAuth.act,
        DAPP.key,
        lambda token: update.settle_update(
            UPDATE.pending,
            _result(methods.UPDATE, token, UPDATE.pending.request_id),
            SUBSCRIPTION,
            now=NOW,
        ),
    ),
    (
        claims.DeleteAuth.act,
        W1.identity_key,
        lambda token: delete.answer_delete(
            _request(methods.DELETE, token),
            DAPP.identity,
            sym_key_p=SUBSCRIPTION.sym_key,
            subscription_hash="0" * 64,
            iv=iv(),
            **_BY_W1,
        ),
    ),
    (
        claims.MessageAuth.act,
        DAPP.key,
        lambda token: message.receive_message(
            _request(methods.MESSAGE, token), W1.account, **_OF_DAPP
        ),
    ),
    (
        claims.MessageAuth.act,
        DAPP.key,
        lambda token: message.receive_message(
            _request(methods.MESSAGE, token), W1.account, archived=True, **_OF_DAPP
        ),
    ),
    *(
        (
            kind.act,
            W1.identity_key,
            lambda token: (
                message.claimed_receipt(_result(methods.MESSAGE, token, 7)),
                message.read_receipt(
                    _result(methods.MESSAGE, token, 7), DAPP.identity, **_BY_W1
                ),
            ),
        )
        for kind in (claims.ReceiptAuth, claims.MessageResponseAuth)
    ),
    (
        watch_claims.WatchSubscriptionsAuth.act,
        W1.identity_key,
        lambda token: watch.answer_watch(
            _request(methods.WATCH, token),
            SERVER,
            topic=SERVER.key_pair.topic,
            sender_public_key=KEY_PAIR_Y.public_key,
            identity=W1.cacao,
            subscriptions=[],
            iv=iv(),
            now=NOW,
        ),
    ),
    (
        watch_claims.WatchSubscriptionsResponseAuth.act,
        DAPP.key,
        lambda token: watch.read_subscriptions(
            _result(methods.WATCH, token, PENDING_WATCH.request_id),
            PENDING_WATCH,
            now=NOW,
        ),
    ),
    (
        watch_claims.SubscriptionsChangedAuth.act,
        DAPP.key,
        lambda token: watch.read_subscriptions(
            _request(methods.CHANGED, token), PENDING_WATCH, now=NOW
        ),
    ),
    (
        watch_claims.GetNotificationsAuth.act,
        W1.identity_key,
        lambda token: read_state.read_get_notifications(
            _request(methods.GET_NOTIFICATIONS, token), DAPP.identity, **_BY_W1
        ),
    ),
    (
        watch_claims.GetNotificationsResponseAuth.act,
        DAPP.key,
        lambda token: read_state.read_notifications(
            _result(methods.GET_NOTIFICATIONS, token, 7), W1.account, **_OF_DAPP
        ),
    ),
    (
        watch_claims.MarkReadAuth.act,
        W1.identity_key,
        lambda token: read_state.read_mark_read(
            _request(methods.MARK_READ, token), DAPP.identity, **_BY_W1
        ),
    ),
)


# --- seeds ------------------------------------------------------------------------------


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        found = [dump_json(value)] if len(str(value)) < MAX_SEED else []
        return found + [text for each in value.values() for text in _strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return []


MAX_SEED = 4096


def _from_vectors(*files: str) -> list[bytes]:
    """Every text and object in the vectors, which are what real clients produced."""
    texts = [
        text
        for name in files
        for text in _strings(json.loads((VECTORS / f"{name}.json").read_text()))
        if len(text) < MAX_SEED
    ]
    return [text.encode() for text in dict.fromkeys(texts)]


def _claims(aud: str, **more: Any) -> bytes:
    """Claims that pass the checks of all receivers of one side."""
    members = {
        "iat": NOW,
        "exp": NOW + 300,
        "aud": aud,
        "sub": W1.account.did,
        "app": str(DAPP.url),
        "ksu": "https://keys.example.org",
        **more,
    }
    return dump_json(members).encode()


_ELEMENT: dict[str, Any] = {
    "appDomain": "dapp.example.org",
    "appAuthenticationKey": DAPP.key.did,
    "symKey": "00" * 32,
    "account": str(W1.account),
    "scope": ["alerts"],
    "expiry": NOW + 1000,
}
_NOTE: dict[str, Any] = {"type": "alerts", "title": "Hello", "body": "World", "id": "1"}
CLAIM_SEEDS = [
    _claims(DAPP.key.did, scp="alerts promotional"),
    _claims(DAPP.key.did, scp="", lmt=5, aft=None, urf=True),
    _claims(DAPP.key.did, ids=["a"], all=False, mjv="1", app=DAPP.url.did),
    _claims(DAPP.key.did, all=True, sub="0" * 64),
    _claims(W1.account.did, msg=_NOTE, sub="0" * 64),
    _claims(W1.identity_key.did, sub=ANSWER.subscription_hash, sbs=[_ELEMENT]),
    _claims(W1.identity_key.did, sbs=[_ELEMENT], nfs=[_NOTE], mre=True, mur=False),
    _claims(W1.identity_key.did, sub="did:key:" + "z" * 48, app=DAPP.url.did, mjv="1"),
    _claims(
        DAPP.key.did, act="notify_key_handover", sub=W1.identity_key.did, kag="00" * 32
    ),
]
for _signed in (ANSWER.publish, UPDATE.publish):
    _key = ASKED.sym_key_s if _signed is ANSWER.publish else SUBSCRIPTION.sym_key
    _payload = arrived(_signed, _key)
    _members = (
        _payload.params
        if isinstance(_payload, JsonRpcRequest)
        else getattr(_payload, "result", {})
    )
    CLAIM_SEEDS += [
        dump_json(DidJwt.parse(token).claims).encode() for token in _members.values()
    ]


def _rpc(method: str, **params: Any) -> bytes:
    return JsonRpcRequest(NOW * 1_000_000, method, params).to_json().encode()


_TOPIC = "ab" * 32
_PUBLISH: dict[str, Any] = {
    "topic": _TOPIC,
    "message": "AA==",
    "ttl": 300,
    "tag": 4002,
    "prompt": True,
}
FRAME_SEEDS = [
    _rpc("irn_publish", **_PUBLISH),
    _rpc("waku_batchPublish", messages=[_PUBLISH]),
    _rpc("irn_subscribe", topic=_TOPIC),
    _rpc("irn_batchSubscribe", topics=[_TOPIC, "cd" * 32]),
    _rpc("irn_unsubscribe", topic=_TOPIC, id="x"),
    _rpc("irn_batchUnsubscribe", subscriptions=[{"topic": _TOPIC, "id": "x"}]),
    _rpc("irn_batchFetchMessages", topics=[_TOPIC]),
    _rpc("irn_batchReceive", receipts=[{"topic": _TOPIC, "messageId": _TOPIC}]),
    _rpc("irn_subscription", id="x", data={**_PUBLISH, "publishedAt": NOW * 1000}),
    _rpc(
        "wc_proposeSession",
        pairingTopic=_TOPIC,
        sessionProposal="AA==",
        attestation="a",
    ),
    _rpc(
        "wc_approveSession",
        pairingTopic=_TOPIC,
        sessionTopic="cd" * 32,
        sessionProposalResponse="AA==",
        sessionSettlementRequest="AA==",
    ),
    JsonRpcResult(1, True).to_json().encode(),  # noqa: FBT003
    JsonRpcError(1, -32600, "no").to_json().encode(),
    b'{"id":"17n","jsonrpc":"2.0","result":true}',
]
STORE_SEEDS = [
    _rpc("wc_syncSet", key="k", value="v"),
    _rpc("wc_syncDel", key="k"),
]
JSON_SEEDS = [b"{}", b"[]", b'{"a":[1,2.5,"\\u00e9",null,true]}', b"[" * 40 + b"]" * 40]
URL_SEEDS = [
    b"https://dapp.example.org",
    b"http://localhost:8000/dapps/demo",
    b"dapp.example.org",
    b"did:web:dapp.example.org%3A8443:path",
    "https://b\u00fccher.example/\u00fc?q=1#f".encode(),
    b"https://[2001:db8::1]:443/",
    b"xn--bcher-kva.example",
    b"https://user:password@host/",
    b"eip155:1:0x" + b"ab" * 20,
    b"did:pkh:eip155:1:0x" + b"ab" * 20,
    b"alerts promotional",
]
DOCUMENT_SEEDS = [
    dump_json(DAPP.document.to_value()).encode(),
    dump_json(
        {
            "version": 1,
            "lastModified": 1,
            "name": "Dapp",
            "types": [{"name": "alerts", "description": "Urgent"}],
        }
    ).encode(),
]
VALUE_SEEDS = [
    SUBSCRIPTION.to_json().encode(),
    dump_json(SUBSCRIPTION.to_value()).encode(),
    dump_json(_ELEMENT).encode(),
    dump_json(_NOTE).encode(),
    dump_json(DAPP.metadata.to_value()).encode(),
    dump_json(DAPP.scope.to_value()).encode(),
]
CACAO_SEEDS = [
    dump_json(W1.cacao.to_value()).encode(),
    dump_json(
        W1.allowing("I further authorize this app to send me notifications.").to_value()
    ).encode(),
]

CLIENT_AUTH = make_client_auth(
    W1.identity_key, aud="wss://relay.example", now=NOW, nonce=bytes(32)
)

TARGETS: dict[str, Target] = {
    "json": Target(json_text, (*JSON_SEEDS, *FRAME_SEEDS[:2])),
    "json_rpc": Target(json_rpc, (*FRAME_SEEDS, *STORE_SEEDS)),
    "envelope": Target(envelope, tuple(_from_vectors("envelopes"))),
    "sealed": Target(sealed, tuple(FRAME_SEEDS[:3])),
    "key_texts": Target(
        key_texts, tuple(_from_vectors("key_agreement", "dids", "sync"))
    ),
    "did_jwt": Target(did_jwt, tuple(_from_vectors("did_jwts"))),
    "own_token": Target(own_token, tuple(CLAIM_SEEDS)),
    "names": Target(names, (*URL_SEEDS, *_from_vectors("dids"))),
    "addresses": Target(addresses, tuple(URL_SEEDS)),
    "cacao": Target(cacao, (*CACAO_SEEDS, *_from_vectors("cacao"))),
    "web_document": Target(web_document, (*DOCUMENT_SEEDS, *_from_vectors("dids"))),
    "notify_values": Target(notify_values, tuple(VALUE_SEEDS)),
    "claim_sets": Target(claim_sets, tuple(CLAIM_SEEDS)),
    "relay_frame": Target(relay_frame, (*FRAME_SEEDS, *STORE_SEEDS)),
    "connect_request": Target(
        connect_request,
        (
            b"/?auth=x&projectId=a&useOnCloseEvent=true",
            b"/?projectId=a&auth=" + CLIENT_AUTH.encode(),
            *(b"/?projectId=a&auth=" + each for each in _from_vectors("did_jwts")[:9]),
            b"/?projectId=a\nBearer x",
        ),
        (RemoteProtocolError, ConnectRefused),
    ),
    "live_frame": Target(
        live_frame,
        (
            b'{"type":"resume","generation":"x","sequence":1}',
            b'{"type":"ack","sequence":1}',
        ),
    ),
    "store_update": Target(
        store_update, (*STORE_SEEDS, *_from_vectors("sync_conflicts"))
    ),
    "adoption": Target(adoption, tuple(VALUE_SEEDS)),
    "history": Target(history, (*STORE_SEEDS, *FRAME_SEEDS[:2])),
    "conversation": Target(conversation, tuple(CLAIM_SEEDS)),
}
