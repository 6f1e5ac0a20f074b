"""The twenty steps with fixed keys: what works, and every refusal one change away."""

from __future__ import annotations

import ast
import inspect
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cacaos import LIMITED_STATEMENT
from tests.walletconnect.conversation import (
    ANSWER,
    REQUEST_ID,
    SUBSCRIPTION,
    answer,
    arrived,
    ask,
    settle,
)
from tests.walletconnect.people import (
    BOB,
    DAPP,
    KEY_PAIR_Z,
    KEYS_SERVER,
    NOW,
    OTHER_DAPP,
    W1,
    WX,
    iv,
    secret,
)
from walletconnect.crypto.envelope import Envelope
from walletconnect.crypto.ethereum import sign_eip191
from walletconnect.crypto.keys import KeyPair, SymKey, hash_text
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.identity.cacao import Cacao, build_message
from walletconnect.identity.did import did_key, public_key_of
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify import subscribe
from walletconnect.notify.answers import publish_error
from walletconnect.notify.claims import SubscriptionAuth, SubscriptionResponseAuth
from walletconnect.notify.dialect import V0, V1, dialect_of
from walletconnect.notify.methods import SUBSCRIBE, SUBSCRIPTION_LIFE
from walletconnect.notify.parties import claimed_identity
from walletconnect.notify.server_subscription import ServerSubscription
from walletconnect.notify.steps import Step
from walletconnect.notify.subscribe import (
    adopt_subscription,
    announce_subscription,
    locate_dapp,
)
from walletconnect.notify.values import NotifySubscription
from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest, JsonRpcResult
from walletconnect.sync.store import StoreSet

DOCS = Path(__file__).parents[2] / "docs" / "protocol.md"


# --- the file itself ---


def test_the_marks_are_one_to_twenty_once_and_in_order():
    marks = re.findall(r"# step (\d+)$", inspect.getsource(subscribe), re.MULTILINE)
    assert [int(mark) for mark in marks] == list(range(1, 21))


def test_every_step_has_its_actor():
    assert [int(step) for step in Step] == list(range(1, 21))
    assert {step.actor for step in Step if step <= 7 or 14 <= step <= 18} == {"W1"}
    assert {step.actor for step in Step if 8 <= step <= 13} == {"Cast Server"}
    assert {step.actor for step in Step if step >= 19} == {"Wx"}


def test_the_page_prints_the_table():
    page = DOCS.read_text()
    source = inspect.getsource(subscribe)
    lines = source.splitlines()
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            body = "\n".join(lines[function.lineno - 1 : function.end_lineno])
            for number in re.findall(r"# step (\d+)$", body, re.MULTILINE):
                step = Step(int(number))
                text = step.description
                assert (
                    f"| {number} | {step.actor} | `{function.name}` | {text} |" in page
                )


# --- the run ---


def test_it_runs_from_the_dapps_address_to_the_other_device():
    document_url = locate_dapp("https://dapp.example.org/")
    assert document_url == "https://dapp.example.org/.well-known/did.json"
    asked = ask()
    assert asked.publish.topic == DAPP.key_pair_x.topic
    assert (asked.publish.tag, asked.publish.ttl) == (4000, 86_400)
    answered = answer(asked)
    assert answered.publish.topic == asked.response_topic == asked.sym_key_s.topic
    assert answered.publish.tag == 4001
    settled = settle(asked, answered)
    assert settled.subscription.sym_key == answered.sym_key_p
    assert settled.notify_topic == answered.notify_topic
    assert settled.subscription.expiry == NOW + 2 + SUBSCRIPTION_LIFE
    update = announce_subscription(settled.subscription, update_id=9)
    assert (update.key, update.id) == (settled.notify_topic, 9)
    adoption = adopt_subscription(update, WX.account, now=NOW + 3)
    assert adoption.subscription == settled.subscription
    assert adoption.notify_topic == settled.notify_topic


def test_the_answer_has_account_and_scope():
    assert ANSWER.account == W1.account
    assert ANSWER.scope == ("promotional", "alerts", "gm_hourly")
    assert ANSWER.expiry == NOW + 1 + SUBSCRIPTION_LIFE
    assert ANSWER.iat == NOW
    assert dialect_of(ANSWER.app) is V0
    assert ANSWER.webhook == "subscribed"
    request = arrived(ask().publish, ask().sym_key_s)
    assert ANSWER.subscription_hash == hash_text(request.params["subscriptionAuth"])


def test_the_answer_names_z_with_the_ed25519_prefix():
    # Any other prefix stops the released client, although Z is an X25519 key.
    asked = ask()
    response = arrived(answer(asked).publish, asked.sym_key_s)
    claims = DidJwt.parse(response.result["responseAuth"]).claims
    assert claims["sub"].startswith("did:key:z6Mk")
    assert public_key_of(claims["sub"]) == KEY_PAIR_Z.public_key
    assert claims["ksu"] == KEYS_SERVER
    assert "sbs" not in claims


def test_the_same_request_gets_the_same_answer_byte_for_byte():
    assert answer() == answer()
    assert ask() == ask()


def test_a_webhook_fires_for_a_new_subscription_only():
    assert answer(is_new=False).webhook is None


def test_a_wallet_may_choose_some_types_or_none():
    for chosen in (["alerts"], []):
        asked = ask(scope=DAPP.scope.with_enabled(chosen))
        assert answer(asked).scope == tuple(chosen)
        assert settle(asked, answer(asked)).subscription.scope.enabled == tuple(chosen)


def test_repr_hides_secrets():
    asked = ask()
    settled = settle(asked, ANSWER)
    shown = f"{asked!r} {ANSWER!r} {settled!r} {announce_subscription(settled.subscription, update_id=1)!r}"
    for key in (asked.sym_key_s, ANSWER.sym_key_p):
        assert key.hex() not in shown
        assert repr(key.raw) not in shown
        assert key.topic in shown


# --- what the Cast Server refuses ---


def request_with(key=W1.identity_key, **changes) -> JsonRpcRequest:
    """W1's request with some claims changed, signed by `key`."""
    claims = {
        "iat": NOW,
        "exp": NOW + 30,
        "iss": key.did,
        "sub": W1.account.did,
        "aud": DAPP.key.did,
        "ksu": KEYS_SERVER,
        "scp": ("alerts",),
        "app": "https://dapp.example.org",
        **changes,
    }
    token = SubscriptionAuth(**claims).sign(key)
    return JsonRpcRequest(REQUEST_ID, SUBSCRIBE.name, {"subscriptionAuth": token})


def refusal(**changes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        answer(**changes)
    return caught.value.code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": OTHER_DAPP.key.did}, ErrorCode.MISMATCH),
        ({"app": "https://other.example.org"}, ErrorCode.MISMATCH),
        ({"ksu": "https://evil.example.org"}, ErrorCode.MISMATCH),
        ({"sub": BOB.account.did}, ErrorCode.MISMATCH),
        ({"sub": "did:key:x"}, ErrorCode.MALFORMED),
        ({"iat": NOW - 400, "exp": NOW - 370}, ErrorCode.EXPIRED),
        ({"iat": NOW + 200, "exp": NOW + 230}, ErrorCode.CLOCK),
        ({"exp": NOW + 2_592_001}, ErrorCode.MALFORMED),
        ({"scp": ("a" * 37,)}, ErrorCode.MALFORMED),
        ({"scp": tuple(f"t{number}" for number in range(65))}, ErrorCode.TOO_LARGE),
    ],
)
def test_the_server_refuses_a_changed_claim(changes, code):
    answer(request=request_with())
    assert refusal(request=request_with(**changes)) is code


def test_the_server_refuses_another_key_or_account():
    # Bob's key with Alice's CACAO, Alice's key with Bob's, Alice's other device's.
    assert refusal(request=request_with(BOB.identity_key)) is ErrorCode.MISMATCH
    assert refusal(identity=BOB.cacao) is ErrorCode.MISMATCH
    assert refusal(identity=WX.cacao) is ErrorCode.MISMATCH
    bobs = request_with(BOB.identity_key, sub=BOB.account.did)
    assert answer(request=bobs, identity=BOB.cacao).account == BOB.account


def test_the_server_refuses_an_unsigned_cacao():
    forged = replace(W1.cacao, signature=BOB.cacao.signature)
    assert refusal(identity=forged) is ErrorCode.UNAUTHENTIC


def test_the_server_refuses_a_token_of_another_kind():
    token = DidJwt.parse(request_with().params["subscriptionAuth"])
    for params in (
        {},
        {"subscriptionAuth": None},
        {"subscriptionAuth": token.text[:-2]},
    ):
        request = JsonRpcRequest(REQUEST_ID, SUBSCRIBE.name, params)
        assert refusal(request=request) in (ErrorCode.MALFORMED, ErrorCode.UNAUTHENTIC)


def test_the_server_refuses_what_came_on_another_topic():
    assert refusal(topic=OTHER_DAPP.key_pair_x.topic) is ErrorCode.MISMATCH


def test_the_server_refuses_a_public_key_of_low_order():
    assert refusal(public_key_y=bytes(32)) is ErrorCode.MALFORMED


def test_a_request_older_than_the_last_delete_is_refused():
    assert answer(last_delete_iat=NOW).account == W1.account
    assert refusal(last_delete_iat=NOW + 1) is ErrorCode.OUTDATED


def test_the_method_name_does_not_matter():
    request = replace(request_with(), method="wc_somethingElse")
    assert answer(request=request).account == W1.account


def test_claimed_identity_reads_the_unverified_token():
    claimed = claimed_identity(request_with(), SUBSCRIBE, allowed={KEYS_SERVER})
    assert claimed.did == W1.identity_key.did
    assert claimed.keys_server_url == KEYS_SERVER
    for request, allowed in (
        (request_with(), {"https://other"}),
        (JsonRpcRequest(1, "x", {}), {KEYS_SERVER}),
    ):
        with pytest.raises(RemoteProtocolError):
            claimed_identity(request, SUBSCRIBE, allowed=allowed)


def test_a_refusal_reaches_the_wallet():
    asked = ask()
    fault = RemoteProtocolError(ErrorCode.EXPIRED, "did-jwt has expired")
    refused = publish_error(
        SUBSCRIBE, fault, request_id=REQUEST_ID, sym_key=asked.sym_key_s, iv=iv()
    )
    assert (refused.topic, refused.tag) == (asked.response_topic, 4001)
    response = arrived(refused, asked.sym_key_s)
    assert response == JsonRpcError(REQUEST_ID, -1, "did-jwt has expired")
    with pytest.raises(RemoteProtocolError) as caught:
        settle(asked, response=response)
    assert caught.value.code is ErrorCode.REFUSED


# --- v1, at the same server ---


def test_v1_is_answered_with_the_list_and_the_known_key():
    asked = ask()
    request = request_with(app="did:web:dapp.example.org", mjv="1")
    known = SymKey(secret("kept"))
    other = ServerSubscription(
        "other.example.org",
        OTHER_DAPP.key.did,
        SymKey(secret("o")),
        W1.account,
        (),
        NOW,
    )
    answered = answer(
        asked,
        request=request,
        identity=W1.allowing(LIMITED_STATEMENT),
        known_sym_key=known,
        others=[other],
    )
    assert dialect_of(answered.app) is V1
    assert answered.sym_key_p == known
    assert answered.notify_topic == known.topic
    response = arrived(answered.publish, asked.sym_key_s)
    auth = SubscriptionResponseAuth.read(response.result["responseAuth"], now=NOW)
    assert (auth.sub, auth.mjv) == (W1.account.did, "1")
    assert auth.sbs[0] == other
    assert f"did:web:{auth.sbs[1].app_domain}" == auth.app
    assert auth.sbs[1].sym_key == known
    assert auth.sbs[1].scope == ("alerts",)
    assert auth.sbs[1].app_authentication_key == DAPP.key.did


def test_v1_needs_the_accounts_permission_for_the_app():
    request = request_with(app="did:web:dapp.example.org", mjv="1")
    for identity in (W1.cacao, W1.allowing(LIMITED_STATEMENT, "other.example.org")):
        assert refusal(request=request, identity=identity) is ErrorCode.UNAUTHORIZED
    answer(request=request, identity=W1.allowing(ALL_APPS_STATEMENT, "wallet.example"))


def test_v0_gets_a_fresh_key_even_if_one_is_known():
    answered = answer(known_sym_key=SymKey(secret("kept")))
    assert answered.sym_key_p == ANSWER.sym_key_p


# --- what W1 refuses ---


def response_with(key=DAPP.key, rpc_id=REQUEST_ID, **changes) -> JsonRpcResult:
    claims = {
        "iat": NOW,
        "exp": NOW + 86_400,
        "iss": key.did,
        "aud": W1.identity_key.did,
        "sub": did_key(KEY_PAIR_Z.public_key),
        "app": "https://dapp.example.org",
        **changes,
    }
    return JsonRpcResult(
        rpc_id, {"responseAuth": SubscriptionResponseAuth(**claims).sign(key)}
    )


def settle_refusal(response, **changes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        settle(response=response, **changes)
    return caught.value.code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": OTHER_DAPP.key}, ErrorCode.MISMATCH),
        ({"rpc_id": REQUEST_ID + 1}, ErrorCode.MISMATCH),
        ({"aud": WX.identity_key.did}, ErrorCode.MISMATCH),
        ({"app": "https://other.example.org"}, ErrorCode.MISMATCH),
        ({"sub": W1.account.did}, ErrorCode.MALFORMED),
        (
            {"sub": "did:key:z6LSshzwdrRFgnhXc9D9NuSSssnWqw2W14rYs3pKg4xuQcJp"},
            ErrorCode.MALFORMED,
        ),
        ({"sub": did_key(bytes(32))}, ErrorCode.MALFORMED),
        ({"iat": NOW - 900, "exp": NOW - 800}, ErrorCode.EXPIRED),
    ],
)
def test_w1_refuses_an_answer_that_is_not_the_dapps_to_this_request(changes, code):
    assert settle(response=response_with()).subscription == SUBSCRIPTION
    assert settle_refusal(response_with(**changes)) is code


def test_w1_refuses_an_answer_after_its_request_has_expired():
    late = NOW + SUBSCRIBE.ttl + 1
    assert settle_refusal(response_with(exp=late), now=late) is ErrorCode.EXPIRED


@pytest.mark.parametrize(
    "result", [None, True, {}, {"responseAuth": 7}, {"responseAuth": ""}]
)
def test_w1_refuses_an_empty_answer(result):
    assert settle_refusal(JsonRpcResult(REQUEST_ID, result)) is ErrorCode.MALFORMED


def test_w1_with_another_y_gets_another_key():
    other = settle(response=response_with(), key_pair_y=KeyPair(secret("other")))
    assert other.notify_topic != SUBSCRIPTION.topic


def test_an_equivalent_app_claim_is_accepted():
    settle(response=response_with(app="https://dapp.example.org/"))


# --- what Wx refuses ---


def announced(**changes) -> StoreSet:
    value = {**SUBSCRIPTION.to_value(), **changes}
    return StoreSet(SUBSCRIPTION.topic, json.dumps(value), 9)


@pytest.mark.parametrize(
    ("update", "code"),
    [
        (StoreSet("00" * 32, SUBSCRIPTION.to_json(), 9), ErrorCode.MISMATCH),
        (StoreSet(SUBSCRIPTION.topic, "not json", 9), ErrorCode.MALFORMED),
        (StoreSet(SUBSCRIPTION.topic, "[]", 9), ErrorCode.MALFORMED),
        (announced(topic="00" * 32), ErrorCode.MISMATCH),
        (announced(symKey="00" * 32), ErrorCode.MISMATCH),
        (announced(account=str(BOB.account)), ErrorCode.MISMATCH),
        (announced(relay={"protocol": "evil"}), ErrorCode.UNSUPPORTED),
        (announced(expiry=NOW), ErrorCode.EXPIRED),
        (announced(expiry=NOW + 3 * SUBSCRIPTION_LIFE), ErrorCode.MALFORMED),
        (announced(expiry=str(NOW)), ErrorCode.MALFORMED),
        (announced(expiry=NOW * 1000), ErrorCode.MALFORMED),
    ],
)
def test_wx_refuses_inconsistent_store_entries(update, code):
    adopt_subscription(announced(), WX.account, now=NOW)
    with pytest.raises(RemoteProtocolError) as caught:
        adopt_subscription(update, WX.account, now=NOW)
    assert caught.value.code is code


def test_wx_accepts_its_account_in_another_form():
    lower = announced(account=str(W1.account).lower())
    assert (
        adopt_subscription(lower, WX.account, now=NOW).notify_topic
        == SUBSCRIPTION.topic
    )


def test_what_w1_announces_is_exactly_the_specs_value():
    value = json.loads(announce_subscription(SUBSCRIPTION, update_id=9).value)
    assert list(value) == [
        "topic",
        "account",
        "relay",
        "metadata",
        "scope",
        "expiry",
        "symKey",
    ]
    assert value["relay"] == {"protocol": "irn"}
    assert value["symKey"] == ANSWER.sym_key_p.hex()
    assert value["scope"]["alerts"] == {"description": "Urgent", "enabled": True}
    assert NotifySubscription.from_value(value) == SUBSCRIPTION


def test_the_envelope_of_the_request_opens_with_x_alone():
    envelope = Envelope.decode(ask().publish.message)
    assert envelope.derive_sym_key(DAPP.key_pair_x) == ask().sym_key_s
    with pytest.raises(RemoteProtocolError):
        envelope.open(envelope.derive_sym_key(OTHER_DAPP.key_pair_x))


def test_an_expired_cacao_is_rejected():
    payload = replace(W1.cacao.payload, exp="2023-01-01T00:00:00Z")
    expired = Cacao.signed(payload, sign_eip191(build_message(payload), W1.private_key))
    assert refusal(identity=expired) is ErrorCode.EXPIRED
