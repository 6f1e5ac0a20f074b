"""Changing the types of a subscription."""

from __future__ import annotations

import pytest

from tests.cacaos import LIMITED_STATEMENT
from tests.walletconnect.conversation import REQUEST_ID, SUBSCRIPTION, arrived
from tests.walletconnect.people import (
    BOB,
    DAPP,
    KEYS_SERVER,
    NOW,
    OTHER_DAPP,
    W1,
    WX,
    iv,
)
from walletconnect.crypto.keys import hash_text
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.claims import UpdateAuth, UpdateResponseAuth
from walletconnect.notify.dialect import V1
from walletconnect.notify.methods import SUBSCRIPTION_LIFE, UPDATE
from walletconnect.notify.update import answer_update, request_update, settle_update
from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest, JsonRpcResult


def ask(enabled=("alerts",), wallet=W1, **changes):
    return request_update(
        SUBSCRIPTION,
        wallet.identity,
        enabled=enabled,
        dapp_did=DAPP.key.did,
        request_id=REQUEST_ID,
        iv=iv(),
        now=NOW,
        **changes,
    )


def answer(request=None, **changes):
    request = request or arrived(ask().publish, SUBSCRIPTION.sym_key)
    given = {
        "sym_key_p": SUBSCRIPTION.sym_key,
        "account": W1.account,
        "identity": W1.cacao,
        "iv": iv("answer"),
        "now": NOW + 1,
        **changes,
    }
    return answer_update(request, DAPP.identity, **given)


def refusal(*args, **changes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        answer(*args, **changes)
    return caught.value.code


@pytest.mark.parametrize("enabled", [("alerts",), (), ("promotional", "gm_hourly")])
def test_the_new_types_reach_the_server_and_come_back(enabled):
    asked = ask(enabled)
    assert (asked.publish.topic, asked.publish.tag) == (SUBSCRIPTION.topic, 4008)
    answered = answer(arrived(asked.publish, SUBSCRIPTION.sym_key))
    assert answered.scope == enabled
    assert answered.subscription_hash == asked.pending.update_hash
    assert answered.expiry == NOW + 1 + SUBSCRIPTION_LIFE
    assert (answered.publish.topic, answered.publish.tag) == (SUBSCRIPTION.topic, 4009)
    response = arrived(answered.publish, SUBSCRIPTION.sym_key)
    updated = settle_update(asked.pending, response, SUBSCRIPTION, now=NOW + 2)
    assert updated.scope.enabled == enabled
    assert updated.scope.names == SUBSCRIPTION.scope.names
    assert updated.expiry == NOW + 2 + SUBSCRIPTION_LIFE
    assert updated.sym_key == SUBSCRIPTION.sym_key


def test_another_device_of_the_account_may_update():
    asked = ask(wallet=WX)
    request = arrived(asked.publish, SUBSCRIPTION.sym_key)
    assert answer(request, identity=WX.cacao).scope == ("alerts",)


def test_a_type_that_the_dapp_does_not_offer_is_not_asked_for():
    assert ask(("alerts", "unknown")).pending.scope.enabled == ("alerts",)


def request_with(key=W1.identity_key, **changes) -> JsonRpcRequest:
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
    token = UpdateAuth(**claims).sign(key)
    return JsonRpcRequest(REQUEST_ID, UPDATE.name, {"updateAuth": token})


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": OTHER_DAPP.key.did},
        {"app": "https://other.example.org"},
        {"ksu": "https://evil.example.org"},
        {"sub": BOB.account.did},
        {"key": BOB.identity_key},
    ],
)
def test_the_server_refuses_an_update_for_others_or_by_others(changes):
    answer(request_with())
    assert refusal(request_with(**changes)) is ErrorCode.MISMATCH


def test_bob_cannot_change_alices_subscription():
    # Bob may hold the topic's key, and signs as himself with all in order.
    request = request_with(BOB.identity_key, sub=BOB.account.did)
    assert refusal(request, identity=BOB.cacao) is ErrorCode.MISMATCH


def test_an_older_request_does_not_undo_a_newer_one():
    assert answer(last_iat=NOW).scope == ("alerts",)
    assert refusal(last_iat=NOW + 1) is ErrorCode.OUTDATED


def test_a_v1_update_is_answered_with_the_list():
    request = request_with(app="did:web:dapp.example.org", mjv="1")
    allowed = W1.allowing(LIMITED_STATEMENT)
    response = arrived(answer(request, identity=allowed).publish, SUBSCRIPTION.sym_key)
    auth = UpdateResponseAuth.read(response.result["responseAuth"], now=NOW)
    assert auth.sub == W1.account.did
    assert [each.scope for each in auth.sbs] == [("alerts",)]


def test_an_update_may_be_requested_in_v1():
    asked = ask(dialect=V1)
    request = arrived(asked.publish, SUBSCRIPTION.sym_key)
    auth = UpdateAuth.read(request.params["updateAuth"], now=NOW)
    assert (auth.app, auth.mjv) == ("did:web:dapp.example.org", "1")
    answered = answer(request, identity=W1.allowing(LIMITED_STATEMENT))
    response = arrived(answered.publish, SUBSCRIPTION.sym_key)
    updated = settle_update(asked.pending, response, SUBSCRIPTION, now=NOW + 2)
    assert updated.scope.enabled == ("alerts",)


def response_with(key=DAPP.key, rpc_id=REQUEST_ID, **changes):
    claims = {
        "iat": NOW,
        "exp": NOW + 60,
        "iss": key.did,
        "aud": W1.identity_key.did,
        "sub": ask().pending.update_hash,
        "app": "https://dapp.example.org",
        **changes,
    }
    return JsonRpcResult(
        rpc_id, {"responseAuth": UpdateResponseAuth(**claims).sign(key)}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"key": OTHER_DAPP.key},
        {"rpc_id": 1},
        {"aud": WX.identity_key.did},
        {"app": "https://other.example.org"},
        {"sub": hash_text("an update of before")},
        {"sub": W1.account.did},
        {"app": "did:web:dapp.example.org", "sub": BOB.account.did},
    ],
)
def test_w1_refuses_an_answer_that_is_not_the_dapps_to_this_request(changes):
    settle_update(ask().pending, response_with(), SUBSCRIPTION, now=NOW)
    with pytest.raises(RemoteProtocolError) as caught:
        settle_update(ask().pending, response_with(**changes), SUBSCRIPTION, now=NOW)
    assert caught.value.code is ErrorCode.MISMATCH


def test_a_refused_update_raises():
    with pytest.raises(RemoteProtocolError) as caught:
        settle_update(
            ask().pending, JsonRpcError(REQUEST_ID, -1, "no"), SUBSCRIPTION, now=NOW
        )
    assert (caught.value.code, caught.value.message) == (ErrorCode.REFUSED, "no")
