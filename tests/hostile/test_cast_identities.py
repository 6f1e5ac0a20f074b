"""Identity keys that do not speak for an account, or do so no longer, at the Cast Server.

protocol.md, sections 3.1 and 7; the same at every door: one error in so many words where
a request is answered, silence where nothing ever is, and nothing changes.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from common import clock
from identity.services import keys_server
from tests.castserver.world import Wallet, deliver, open_all
from tests.hostile.endpoints import DOORS
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


def refused(knock, told):
    """The one answer, if this door answers at all; nothing else comes of it."""
    with nothing_changes():
        [row] = deliver(knock.publish)
    assert row.state == "refused"
    assert row.reason.rpartition(": ")[2] == told
    if knock.response_tag is not None:
        answer = open_all(knock.sym_key, knock.response_tag)[-1]
        assert isinstance(answer, JsonRpcError)
        assert (answer.code, answer.message) == (-1, told)


@pytest.mark.parametrize("door", DOORS)
def test_the_genuine_request_would_be_taken(door, project, phone, subscription):
    [row] = deliver(DOORS[door](project, phone, subscription).publish)
    assert (row.state, row.reason) == ("handled", "")


@pytest.mark.parametrize("door", DOORS)
def test_a_key_that_was_never_registered_is_unknown(door, project, phone, subscription):
    tablet = Wallet("alice", "tablet", statement=ALL_APPS_STATEMENT)
    refused(DOORS[door](project, tablet, subscription), UNKNOWN)


@pytest.mark.parametrize("door", DOORS)
def test_a_key_that_was_unregistered_since_is_unknown(
    door, project, phone, subscription
):
    knock = DOORS[door](project, phone, subscription)
    keys_server.withdraw(phone.key.did, phone.account)
    refused(knock, UNKNOWN)
    # Registering it again does not bring it back.
    with pytest.raises(keys_server.KeysServerRefusal):
        phone.register()
    refused(DOORS[door](project, phone, subscription), UNKNOWN)


@pytest.mark.parametrize("door", DOORS)
def test_a_word_of_the_account_that_ran_out_vouches_for_nobody(
    door, project, phone, subscription
):
    """Alice let her tablet speak for an hour."""
    tablet = Wallet("alice", "tablet", statement=ALL_APPS_STATEMENT, life=3600)
    tablet.register()
    [row] = deliver(DOORS[door](project, tablet, subscription).publish)
    assert row.state == "handled"
    if door == "delete":
        subscription = phone.subscribe(project)
    with clock.frozen(clock.now() + timedelta(hours=1, minutes=5)):
        refused(DOORS[door](project, tablet, subscription), UNKNOWN)


@pytest.mark.parametrize("door", DOORS)
def test_bob_does_not_speak_for_alice(door, project, phone, subscription):
    """In his own name, with the key of her topic; and in hers, with his key."""
    bob = Wallet("bob", statement=ALL_APPS_STATEMENT).register()
    in_her_name = dataclasses.replace(bob)
    in_her_name.account = phone.account
    in_her_name.identity = dataclasses.replace(bob.identity, account=phone.account)
    refused(
        DOORS[door](project, in_her_name, subscription),
        NOT_THEIRS if door == "delete" else NOT_ABOUT,
    )
    # A subscribe or a watch in his own name is his right.
    if door not in {"subscribe", "watch", "receipt"}:
        refused(DOORS[door](project, bob, subscription), NOT_THEIRS)
