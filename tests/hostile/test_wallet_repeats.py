"""Repeated, late and reordered messages to our devices.

A message has its effect once, an outdated one changes nothing, and the final state does not
depend on the order of arrival.
"""

from __future__ import annotations

import dataclasses
import random

import pytest
from django.db import transaction

from common import clock, entropy
from common.limits import Bucket
from subscriptions import services
from subscriptions.models import NotifyMessageRecord, SubscribeAttempt, Subscription
from subscriptions.services.subscribe.attempts import end_attempt
from syncstore.models import StoreEntry
from tests.hostile.unchanged import changed_since, contents, nothing_changes
from tests.subscriptions.conftest import requested, subscribed
from tests.subscriptions.test_adoption import OtherWallet
from tests.subscriptions.test_delete import delete_auth, key_of_device
from tests.subscriptions.world import deliver, sent
from walletconnect.crypto.envelope import Envelope, seal
from walletconnect.notify.answers import publish_request
from walletconnect.notify.methods import DELETE
from walletconnect.sync.store import StoreDelete, StoreSet

HUNDRED = 100


@pytest.fixture(autouse=True)
def high_rate_limits(settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, sync_topic=Bucket(100_000, 1000)
    )


def sealed_again(message, sym_key):
    """The same message in another envelope."""
    topic, text, tag = message
    plaintext = Envelope.decode(text).open(sym_key)
    return topic, seal(plaintext, sym_key, iv=entropy.iv()), tag


def test_a_notification_a_hundred_times_is_one(person, dapp):
    subscribed(person, dapp)
    key = dapp.key_of(person.account)
    note = dapp.notification(person.account, request_id=7)
    assert len(deliver(*[note] * HUNDRED)) == 1
    assert len(sent(4003)) == 1
    with nothing_changes():
        assert deliver(*[note] * HUNDRED) == []
        rows = deliver(*(sealed_again(note, key) for _ in range(HUNDRED)))
    assert {row.state for row in rows} == {"handled"}
    # Another text with the same id is the same notification.
    with nothing_changes():
        deliver(dapp.notification(person.account, request_id=7, title="Another"))
    assert NotifyMessageRecord.objects.get().title != "Another"
    assert len(sent(4003)) == 1


def test_an_answer_a_hundred_times_is_one_subscription(person, dapp):
    requested(person, dapp)
    _, _, sym_key_s = dapp.opened(dapp.requests()[-1])
    answer, another = dapp.answer(), dapp.answer()
    deliver(answer)
    topic = Subscription.objects.get().topic
    with nothing_changes():
        rows = deliver(
            another, *(sealed_again(answer, sym_key_s) for _ in range(HUNDRED))
        )
    assert {row.state for row in rows} == {"refused"}
    assert Subscription.objects.get().topic == topic
    assert len(sent(5000)) == 1


def test_a_response_to_an_expired_request_is_dropped(person, dapp):
    attempt = requested(person, dapp)
    answer = dapp.answer()
    end_attempt(attempt, SubscribeAttempt.State.EXPIRED, reason="too late")
    with nothing_changes():
        [row] = deliver(answer)
    assert row.state == "refused"
    subscribed(person, dapp)
    assert Subscription.objects.active().count() == 1


def test_the_answer_to_an_update_a_hundred_times_is_one(person, dapp):
    subscription = subscribed(person, dapp)
    key = dapp.key_of(person.account)
    services.update(subscription, {"news"}, person.device)
    answer = dapp.answer_update(person.account)
    deliver(answer)
    announced = len(sent(5000))
    services.update(subscription, {"alerts"}, person.device)
    with nothing_changes():
        # Late responses to the previous update do not settle this one.
        deliver(*(sealed_again(answer, key) for _ in range(HUNDRED)))
    assert len(sent(5000)) == announced
    deliver(dapp.answer_update(person.account))
    subscription.refresh_from_db()
    enabled = {name for name, each in subscription.scope.items() if each["enabled"]}
    assert enabled == {"alerts"}


def test_a_delete_a_hundred_times_is_one(person, dapp):
    subscribed(person, dapp)
    key = dapp.key_of(person.account)
    made = publish_request(
        DELETE,
        delete_auth(dapp, key_of_device(person, 1)),
        request_id=clock.payload_id(),
        sym_key=key,
        iv=entropy.iv(),
    )
    delete = made.topic, made.message, made.tag
    deliver(*(sealed_again(delete, key) for _ in range(HUNDRED)))
    assert not Subscription.objects.active().exists()
    assert len(sent(5002)) == 1
    again = subscribed(person, dapp)
    with nothing_changes():
        rows = deliver(*(sealed_again(delete, key) for _ in range(HUNDRED)))
    assert {row.reason for row in rows} == {"no key for this topic"}
    assert Subscription.objects.active().get() == again


def test_store_updates_converge_in_any_order(person, dapp):
    """Shuffled, and each in three different envelopes."""
    other = OtherWallet(person, dapp)
    one, two = other.subscription("p"), other.subscription("q")
    updates = [
        StoreSet(one.topic, one.to_json(), other.next_id()),
        StoreSet(two.topic, two.to_json(), other.next_id()),
        StoreDelete(one.topic, other.next_id()),
        StoreDelete(two.topic, other.next_id()),
        StoreSet(two.topic, two.to_json(), other.next_id()),
    ]
    messages = [other.message(update) for update in updates for _ in range(3)]
    order = random.Random("store")  # noqa: S311
    for _ in range(8):
        order.shuffle(messages)
        with transaction.atomic():
            for start in range(0, len(messages), 4):
                deliver(*messages[start : start + 4])
            active = Subscription.objects.active().values_list("topic", flat=True)
            assert list(active) == [two.topic]
            stands = dict(StoreEntry.objects.values_list("key", "is_deleted"))
            assert stands == {one.topic: True, two.topic: False}
            transaction.set_rollback(True)


def test_an_update_of_a_store_a_hundred_times_is_one(person, dapp):
    other = OtherWallet(person, dapp)
    value = other.subscription()
    update = StoreSet(value.topic, value.to_json(), other.next_id())
    deliver(other.message(update))
    before = contents()
    deliver(*(other.message(update) for _ in range(HUNDRED)))
    # Every repeat is in the log of the store only.
    assert changed_since(before).keys() == {
        "syncstore_storeupdate",
        "syncstore_devicecursor",
    }


def test_a_signed_notification_counts_once_whatever_id_it_is_sealed_under(person, dapp):
    """A holder of the topic's key can seal the token again, but signs no new one."""
    subscribed(person, dapp)
    now = clock.now_s()
    made = [
        dapp.notification(
            person.account, request_id=1_675_012_319_603_550 + n, now=now, sub="0" * 64
        )
        for n in range(3)
    ]
    deliver(made[0])
    deliver(*made[1:])
    record = NotifyMessageRecord.objects.get()
    assert record.rpc_id == 1_675_012_319_603_550
    deliver(dapp.notification(person.account, now=now + 1, sub="0" * 64))
    assert NotifyMessageRecord.objects.count() == 2
