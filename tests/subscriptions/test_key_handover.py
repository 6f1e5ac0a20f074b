"""A dapp replaced its keys, and the previous key signed which ones come after it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from common import clock
from messaging.models import InboxMessage
from subscriptions import services
from subscriptions.models import DappDocument, NotifyMessageRecord, Subscription
from tests.subscriptions.world import Dapp, deliver
from walletconnect.crypto.keys import KeyPair
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.did import AppUrl, DidWebDocument
from walletconnect.notify.handover import sign_handover

DAY = 86_400


class RotatingDapp(Dapp):
    """``replace_keys()`` makes new ones; did.json has the handover of the old ones."""

    handovers: tuple[str, ...] = ()

    def replace_keys(self, *, seed=b"n", signed_by=None, days=90) -> IdentityKey:
        old = self.key
        self.key_pair_x = KeyPair.from_private(seed * 32)
        self.key = IdentityKey.from_seed(seed * 32)
        self.hand_over(signed_by or old, days=days)
        return old

    def hand_over(self, signed_by: IdentityKey, *, days=90) -> None:
        now = clock.now_s()
        token = sign_handover(
            signed_by,
            authentication=self.key.did,
            key_agreement=self.key_pair_x.public_key.hex(),
            now=now,
            expires_at=now + days * DAY,
        )
        self.handovers = (token, "no token")

    @property
    def documents(self):
        found = super().documents
        did = AppUrl.parse(self.url).did
        document = DidWebDocument(
            did,
            self.key_pair_x.public_key,
            self.key.public_key,
            handovers=self.handovers,
        )
        return found | {"/.well-known/did.json": document.to_value()}


@pytest.fixture
def dapp():
    made = RotatingDapp()
    yield made
    made.close()


def read_again() -> None:
    DappDocument.objects.update(expires_at=clock.now(), checked_at=None)
    services.recheck_documents()


def deliver_due() -> None:
    InboxMessage.objects.update(next_attempt_at=clock.now())
    deliver()


def test_a_message_by_the_new_key_verifies_without_asking(alice, dapp, subscription):
    dapp.replace_keys()
    DappDocument.objects.update(checked_at=clock.now() - timedelta(hours=1))
    (row,) = deliver(dapp.notification(alice.account))
    assert row.state == "due"
    assert services.recheck_documents() == 1
    document = DappDocument.objects.get()
    assert document.changed_keys is None
    assert document.authentication_key == dapp.key.did
    assert Subscription.objects.get().dapp_authentication_did == dapp.key.did
    deliver_due()
    assert NotifyMessageRecord.objects.count() == 1


def test_keys_that_were_given_up_again_are_left_without_asking(
    alice, dapp, subscription
):
    """The domain published new keys for a while, which the dapp then did not use."""
    before = dapp.key_pair_x, dapp.key
    dapp.replace_keys()
    read_again()
    given_up = dapp.key
    assert Subscription.objects.get().dapp_authentication_did == given_up.did
    dapp.key_pair_x, dapp.key = before
    dapp.hand_over(given_up)
    read_again()
    document = DappDocument.objects.get()
    assert document.changed_keys is None
    assert document.authentication_key == dapp.key.did
    assert Subscription.objects.get().dapp_authentication_did == dapp.key.did
    deliver(dapp.notification(alice.account))
    assert NotifyMessageRecord.objects.count() == 1


def test_messages_signed_before_the_replacement_are_still_taken(
    alice, dapp, subscription
):
    old = dapp.replace_keys()
    read_again()
    deliver(dapp.notification(alice.account, key=old))
    assert NotifyMessageRecord.objects.count() == 1


def test_a_subscription_made_with_the_old_keys_meanwhile_is_moved_along(
    alice, dapp, subscription
):
    old = dapp.replace_keys()
    read_again()
    Subscription.objects.update(dapp_authentication_did=old.did)
    deliver(dapp.notification(alice.account))
    assert NotifyMessageRecord.objects.count() == 1
    read_again()
    assert Subscription.objects.get().dapp_authentication_did == dapp.key.did


def test_the_old_key_counts_until_the_dapp_ends_it(alice, dapp, subscription):
    old = dapp.replace_keys()
    read_again()
    dapp.handovers = ()
    read_again()
    (row,) = deliver(dapp.notification(alice.account, key=old))
    assert row.state == "due"
    assert not NotifyMessageRecord.objects.exists()


def test_the_old_key_counts_until_its_time_is_over(alice, dapp, subscription):
    old = dapp.replace_keys()
    read_again()
    document = DappDocument.objects.get()
    [entry] = document.previous_keys
    assert entry["until"] > clock.now_s() + 89 * DAY
    document.previous_keys = [entry | {"until": clock.now_s() - 1}]
    document.save()
    deliver(dapp.notification(alice.account, key=old))
    assert not NotifyMessageRecord.objects.exists()


@pytest.mark.parametrize("fault", ["another signer", "other keys", "expired"])
def test_a_handover_that_does_not_hold_leaves_it_to_the_person(
    alice, dapp, subscription, fault
):
    pinned = dapp.key.did
    stranger = IdentityKey.from_seed(b"s" * 32)
    if fault == "another signer":
        dapp.replace_keys(signed_by=stranger)
    else:
        dapp.replace_keys(days=-1 if fault == "expired" else 90)
    if fault == "other keys":
        dapp.key = stranger
    read_again()
    document = DappDocument.objects.get()
    assert document.authentication_key == pinned
    assert document.changed_keys["authenticationKey"] == dapp.key.did
    deliver(dapp.notification(alice.account))
    assert not NotifyMessageRecord.objects.exists()


def test_a_stranger_in_did_json_signs_nothing(alice, dapp, subscription):
    """Only keys that were pinned before count, whatever else did.json lists."""
    stranger = IdentityKey.from_seed(b"s" * 32)
    dapp.replace_keys()
    read_again()
    now = clock.now_s()
    dapp.handovers += (
        sign_handover(
            stranger,
            authentication=dapp.key.did,
            key_agreement=dapp.key_pair_x.public_key.hex(),
            now=now,
            expires_at=now + DAY,
        ),
    )
    read_again()
    deliver(dapp.notification(alice.account, key=stranger))
    assert not NotifyMessageRecord.objects.exists()


def test_an_update_is_answered_with_the_key_that_it_named(alice, dapp, subscription):
    services.update(subscription, {"news"}, alice.device)
    answer = dapp.answer_update(alice.account)
    dapp.replace_keys()
    read_again()
    deliver(answer)
    row = Subscription.objects.get()
    assert row.pending_update is None
    assert row.effective_types == {"news"}
