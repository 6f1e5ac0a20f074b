"""Leaving a subscription."""

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
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.claims import DeleteAuth, DeleteResponseAuth
from walletconnect.notify.delete import answer_delete, request_delete
from walletconnect.notify.dialect import V1
from walletconnect.notify.methods import DELETE
from walletconnect.relay.rpc import JsonRpcRequest
from walletconnect.sync.store import StoreDelete

HASH = "ab" * 32


def ask(wallet=W1, **changes):
    return request_delete(
        SUBSCRIPTION,
        wallet.identity,
        dapp_did=DAPP.key.did,
        request_id=REQUEST_ID,
        update_id=8,
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
        "subscription_hash": HASH,
        "iv": iv("answer"),
        "now": NOW + 1,
        **changes,
    }
    return answer_delete(request, DAPP.identity, **given)


def refusal(*args, **changes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        answer(*args, **changes)
    return caught.value.code


def test_a_delete_is_published_and_put_into_the_store():
    asked = ask()
    assert asked.store_delete == StoreDelete(SUBSCRIPTION.topic, 8)
    assert (asked.publish.topic, asked.publish.tag) == (SUBSCRIPTION.topic, 4004)
    answered = answer(arrived(asked.publish, SUBSCRIPTION.sym_key))
    assert answered.iat == NOW
    assert answered.publish.tag == 4005
    response = arrived(answered.publish, SUBSCRIPTION.sym_key)
    auth = DeleteResponseAuth.read(response.result["responseAuth"], now=NOW)
    assert (auth.sub, auth.aud) == (HASH, W1.identity_key.did)


def test_a_delete_may_be_requested_in_v1():
    request = arrived(ask(dialect=V1).publish, SUBSCRIPTION.sym_key)
    auth = DeleteAuth.read(request.params["deleteAuth"], now=NOW)
    assert (auth.app, auth.sub) == ("did:web:dapp.example.org", W1.account.did)
    answered = answer(request, identity=W1.allowing(LIMITED_STATEMENT))
    assert answered.publish.tag == 4005


def request_with(key=W1.identity_key, **changes) -> JsonRpcRequest:
    claims = {
        "iat": NOW,
        "exp": NOW + 30,
        "iss": key.did,
        "sub": "any reason at all",
        "aud": DAPP.key.did,
        "ksu": KEYS_SERVER,
        "app": "https://dapp.example.org",
        **changes,
    }
    token = DeleteAuth(**claims).sign(key)
    return JsonRpcRequest(REQUEST_ID, DELETE.name, {"deleteAuth": token})


def test_a_v0_delete_may_have_any_reason_and_device():
    answer(request_with())
    answer(request_with(WX.identity_key), identity=WX.cacao)
    answer(request_with(sub=""))


def test_bob_cannot_end_alices_subscription():
    assert (
        refusal(request_with(BOB.identity_key), identity=BOB.cacao)
        is ErrorCode.MISMATCH
    )
    assert refusal(request_with(BOB.identity_key)) is ErrorCode.MISMATCH


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": OTHER_DAPP.key.did},
        {"app": "https://other.example.org"},
        {"ksu": "https://x"},
    ],
)
def test_the_server_refuses_a_delete_for_another_dapp(changes):
    assert refusal(request_with(**changes)) is ErrorCode.MISMATCH


def test_a_delete_older_than_the_last_request_is_refused():
    assert answer(last_iat=NOW).iat == NOW
    assert refusal(last_iat=NOW + 1) is ErrorCode.OUTDATED


def test_a_v1_delete_names_the_account_and_is_answered_with_the_remaining_list():
    v1 = {"app": "did:web:dapp.example.org", "mjv": "1"}
    answered = answer(
        request_with(sub=W1.account.did, **v1),
        identity=W1.allowing(LIMITED_STATEMENT),
    )
    response = arrived(answered.publish, SUBSCRIPTION.sym_key)
    auth = DeleteResponseAuth.read(response.result["responseAuth"], now=NOW)
    assert (auth.sub, auth.sbs) == (W1.account.did, ())
    assert refusal(request_with(sub=BOB.account.did, **v1)) is ErrorCode.MISMATCH
    assert refusal(request_with(sub="bye", **v1)) is ErrorCode.MALFORMED
