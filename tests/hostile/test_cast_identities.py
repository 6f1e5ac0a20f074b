"""Identity keys that are not, or no longer, authorized by an account, at the Cast Server.

Every method refuses them alike: with one error if the method has a response, otherwise
silently, and nothing changes.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from common import clock
from identity.services import keys_server
from tests.castserver.world import Wallet, deliver, open_all
from tests.hostile.endpoints import ENDPOINTS
from tests.hostile.unchanged import nothing_changes
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.relay.rpc import JsonRpcError

UNKNOWN = "the key server does not know the identity key"
NOT_ABOUT = "cacao is not about this key and account"
NOT_THEIRS = "the subscription is another account's"


@pytest.fixture
def phone():
    return Wallet("alice", statement=ALL_APPS_STATEMENT).register()


@pytest.fixture
def subscription(phone, project):
    return phone.subscribe(project)


def refused(case, expected):
    """The case is refused with ``expected``, if it has a response, and changes nothing."""
    with nothing_changes():
        [row] = deliver(case.publish)
    assert row.state == "refused"
    assert row.reason.rpartition(": ")[2] == expected
    if case.response_tag is not None:
        answer = open_all(case.sym_key, case.response_tag)[-1]
        assert isinstance(answer, JsonRpcError)
        assert (answer.code, answer.message) == (-1, expected)


@pytest.mark.parametrize("method_name", ENDPOINTS)
def test_the_valid_request_is_accepted(method_name, project, phone, subscription):
    [row] = deliver(ENDPOINTS[method_name](project, phone, subscription).publish)
    assert (row.state, row.reason) == ("handled", "")


@pytest.mark.parametrize("method_name", ENDPOINTS)
def test_an_unregistered_key_is_unknown(method_name, project, phone, subscription):
    tablet = Wallet("alice", "tablet", statement=ALL_APPS_STATEMENT)
    refused(ENDPOINTS[method_name](project, tablet, subscription), UNKNOWN)


@pytest.mark.parametrize("method_name", ENDPOINTS)
def test_a_key_unregistered_later_is_unknown(method_name, project, phone, subscription):
    case = ENDPOINTS[method_name](project, phone, subscription)
    keys_server.withdraw(phone.key.did, phone.account)
    refused(case, UNKNOWN)
    # It cannot be registered again.
    with pytest.raises(keys_server.KeysServerRefusal):
        phone.register()
    refused(ENDPOINTS[method_name](project, phone, subscription), UNKNOWN)


@pytest.mark.parametrize("method_name", ENDPOINTS)
def test_an_expired_cacao_is_rejected(method_name, project, phone, subscription):
    """Alice authorized her tablet for an hour."""
    tablet = Wallet("alice", "tablet", statement=ALL_APPS_STATEMENT, life=3600)
    tablet.register()
    [row] = deliver(ENDPOINTS[method_name](project, tablet, subscription).publish)
    assert row.state == "handled"
    if method_name == "delete":
        subscription = phone.subscribe(project)
    with clock.frozen(clock.now() + timedelta(hours=1, minutes=5)):
        refused(ENDPOINTS[method_name](project, tablet, subscription), UNKNOWN)


@pytest.mark.parametrize("method_name", ENDPOINTS)
def test_bob_cannot_act_for_alice(method_name, project, phone, subscription):
    """Bob's account with the key of Alice's topic; Alice's account with Bob's identity key."""
    bob = Wallet("bob", statement=ALL_APPS_STATEMENT).register()
    in_her_name = dataclasses.replace(bob)
    in_her_name.account = phone.account
    in_her_name.identity = dataclasses.replace(bob.identity, account=phone.account)
    refused(
        ENDPOINTS[method_name](project, in_her_name, subscription),
        NOT_THEIRS if method_name == "delete" else NOT_ABOUT,
    )
    # Bob may subscribe and watch for himself.
    if method_name not in {"subscribe", "watch", "receipt"}:
        refused(ENDPOINTS[method_name](project, bob, subscription), NOT_THEIRS)
