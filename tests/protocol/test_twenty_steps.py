"""The seed's twenty steps over the real relay and gateway, and what follows them."""

from __future__ import annotations

import json

import pytest
from django.db import connection

from accounts.models import AccountEvent
from castserver.models import Delivery, Subscriber
from keychain.services import Holder, sym_keys
from messaging.models import InboxMessage, OutboxMessage, Party
from relayserver.models import PublishedMessage
from runlog import services as runlog
from runlog.models import StepRecord
from subscriptions import services as wallet
from subscriptions.models import NotifyMessageRecord, SubscribeAttempt, Subscription
from syncstore.models import ColdStart, DeviceCursor, StoreEntry, StoreUpdate
from tests.protocol.conftest import BOTH, notify, until, work
from walletconnect.notify.steps import Actor, Step
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

State = SubscribeAttempt.State


def start(person, project) -> SubscribeAttempt:
    return wallet.subscribe(person.account, project.url, device=person.device)


def recorded(attempt) -> set[int]:
    attempt.refresh_from_db()
    if not attempt.response_topic:
        return set()
    return {record.step for record in runlog.of_run(attempt.response_topic)}


def finish(attempt) -> Subscription:
    until(lambda: recorded(attempt) == set(Step), what="all twenty steps")
    attempt.refresh_from_db()
    return attempt.subscription


def subscribed(person, project) -> Subscription:
    until(
        lambda: ColdStart.objects.get(account=person.account).state == "done",
        what="the cold start",
    )
    return finish(start(person, project))


def test_all_twenty_steps_are_taken_by_the_parties_of_the_seed(network, project, alice):
    attempt = start(alice, project)
    finish(attempt)
    found = runlog.of_run(attempt.response_topic)
    assert [record.step for record in found] == list(Step)
    for record in found:
        assert record.actor == Step(record.step).actor.value
    by_step = {record.step: record.at for record in found}
    ours = [by_step[step] for step in (1, 2, 5, 14, 18)]
    assert ours == sorted(ours)
    assert by_step[5] <= by_step[8] <= by_step[13] <= by_step[14]
    assert by_step[16] <= by_step[17]
    assert by_step[19] <= by_step[20]


def test_both_sides_hold_the_same_key_p(network, project, alice):
    row = subscribed(alice, project)
    subscriber = Subscriber.objects.get()
    assert subscriber.topic == row.topic
    wallets = sym_keys(Holder.WALLET, [row.topic])[row.topic]
    casts = sym_keys(Holder.CAST, [row.topic])[row.topic]
    assert wallets == casts


def test_the_other_device_stores_the_subscription(network, project, alice):
    row = subscribed(alice, project)
    entry = StoreEntry.objects.get(key=row.topic)
    newest = StoreUpdate.objects.filter(key=row.topic).latest("pk").pk
    cursor = DeviceCursor.objects.get(
        device=alice.devices[1], store__name=NOTIFY_SUBSCRIPTION_STORE
    )
    assert cursor.update_pk >= newest
    assert entry.is_deleted is False
    wx = StepRecord.objects.filter(actor=Actor.WX.value)
    assert {record.actor_key for record in wx} == {str(alice.devices[1].pk)}


def test_a_notification_reaches_the_account_and_its_receipt_the_dapp(
    network, project, alice
):
    row = subscribed(alice, project)
    outcome = notify(project, alice)
    assert list(outcome.sent) == [alice.account.address]
    record = until(NotifyMessageRecord.objects.first, what="the notification")
    assert (record.subscription, record.title) == (row, "Hello")
    assert record.body == "World é 😀"
    until(
        lambda: Delivery.objects.exclude(receipt_at=None).exists(), what="the receipt"
    )


def test_types_that_are_off_are_not_sent(network, project, alice):
    row = subscribed(alice, project)
    wallet.update(row, {"news"}, alice.devices[1])

    def answered() -> bool:
        row.refresh_from_db()
        return row.pending_update is None

    until(answered, what="the answer to the update")
    assert row.update_reason == ""
    assert Subscriber.objects.get().scope == ["news"]
    assert notify(project, alice, type_="alerts").failed
    assert notify(project, alice, type_="news").sent


def test_leaving_removes_the_subscriber(network, project, alice):
    row = subscribed(alice, project)
    wallet.delete_subscription(row, alice.device)
    until(
        lambda: alice.account.address in notify(project, alice).not_found,
        what="the delete message",
    )
    assert StoreEntry.objects.get(key=row.topic).is_deleted


def test_charlie_sees_nothing(network, project, alice, charlie):
    row = subscribed(alice, project)
    notify(project, alice)
    until(NotifyMessageRecord.objects.exists, what="the notification")
    assert not Subscription.objects.of_user(charlie.user.pk).exists()
    assert not DeviceCursor.objects.filter(device=charlie.device).exists()
    mine = AccountEvent.objects.filter(user=charlie.user)
    assert not mine.filter(account=alice.account).exists()
    assert not mine.filter(kind__startswith="notify").exists()
    with pytest.raises(wallet.NotYours):
        wallet.delete_subscription(row, charlie.device)
    with pytest.raises(wallet.NotYours):
        wallet.update(row, {"news"}, charlie.device)
    assert wallet.mark_read(NotifyMessageRecord.objects.all(), charlie.device) == 0


def test_no_key_is_in_any_row_or_record(network, project, alice):
    row = subscribed(alice, project)
    notify(project, alice)
    until(NotifyMessageRecord.objects.exists, what="the notification")
    sym_key_p = sym_keys(Holder.WALLET, [row.topic])[row.topic]
    store_topic = StoreEntry.objects.get().store.topic
    store_key = sym_keys(Holder.WALLET, [store_topic])[store_topic]
    secrets = [sym_key_p.hex(), store_key.hex(), alice.sync_signature[2:]]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT t::text FROM "{table}" AS t')  # noqa: S608
            text = "\n".join(each for (each,) in cursor.fetchall())
            assert not any(secret in text for secret in secrets), table


# --- order, loss, repetition --------------------------------------------------------------


def test_a_response_without_a_waiting_reader_is_not_lost(
    project, alice, local_relay, start_gateway
):
    """Publish (5) comes before subscribe (7): the relay's mailbox makes it safe."""
    ours = start_gateway(local_relay, (Party.WALLET,))
    attempt = start(alice, project)
    until(
        lambda: OutboxMessage.objects.filter(tag=4000, state="sent").exists(),
        what="the request",
    )
    ours.stop()
    start_gateway(local_relay, (Party.CAST,))
    until(
        lambda: OutboxMessage.objects.filter(tag=4001, state="sent").exists(),
        what="the dapp's answer",
    )
    start_gateway(local_relay, (Party.WALLET,))
    finish(attempt)


def test_a_relay_that_dies_in_the_middle_loses_nothing(
    project, alice, start_relay, start_gateway
):
    relay, url = start_relay()
    port = int(url.rpartition(":")[2])
    start_gateway(url, BOTH)
    attempt = start(alice, project)
    until(
        lambda: OutboxMessage.objects.filter(tag=4000, state="sent").exists(),
        what="the request",
    )
    relay.kill()
    for _ in range(5):
        work()
    start_relay(port)
    finish(attempt)
    assert Subscriber.objects.count() == 1
    assert Subscription.objects.count() == 1


def test_everything_delivered_again_changes_nothing(network, project, alice):
    row = subscribed(alice, project)
    notify(project, alice)
    until(
        lambda: Delivery.objects.exclude(receipt_at=None).exists(), what="the receipt"
    )

    def picture() -> str:
        return json.dumps(
            [
                list(Subscription.objects.values("topic", "scope", "deleted_at")),
                list(Subscriber.objects.values("topic", "scope")),
                list(NotifyMessageRecord.objects.values("rpc_id", "title")),
                list(StoreEntry.objects.values("key", "last_id")),
                # The Cast Server repeats its answer, byte for byte.
                sorted(set(OutboxMessage.objects.values_list("topic", "message_id"))),
            ],
            default=str,
        )

    before = picture()
    assert not OutboxMessage.objects.filter(state="sent").exclude(message="").exists()
    # The outbox drops what the relay has.
    messages = dict(PublishedMessage.objects.values_list("message_id", "message"))
    for message in InboxMessage.objects.all():
        message.message = messages[message.message_id]
        message.state = InboxMessage.State.DUE
        message.attempts = 0
        message.save()
    until(
        lambda: not InboxMessage.objects.filter(state="due").exists(),
        what="the handling",
    )
    assert picture() == before
    row.refresh_from_db()
    assert row.deleted_at is None


def test_two_devices_that_both_subscribe_end_with_one_run(network, project, alice):
    first = wallet.subscribe(alice.account, project.url, device=alice.devices[0])
    second = wallet.subscribe(alice.account, project.url, device=alice.devices[1])
    assert first == second
    finish(first)
    assert Subscriber.objects.count() == 1
