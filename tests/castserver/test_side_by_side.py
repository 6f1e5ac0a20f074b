"""Two workers, or two web processes, at once: real transactions that see each other."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from castserver.models import (
    Delivery,
    Notification,
    ServerKeys,
    Subscriber,
    WebhookDelivery,
)
from castserver.services.idempotency import Outcome, once
from castserver.services.notifications.notify import notify
from castserver.services.projects.server_keys import public_keys
from castserver.services.subscribers import subscribe
from castserver.services.webhooks.sender import _claim
from castserver.services.webhooks.webhooks import queue_events, register_webhook
from common import clock
from common.clock import payload_id
from messaging import services as messaging
from messaging.dispatch import Inbound
from messaging.models import OutboxMessage, Party
from tests.castserver.test_notify import DRAFT, accounts_of, many
from tests.castserver.test_webhooks import event
from tests.castserver.world import Wallet, deliver

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*functions):
    """Run functions in threads that begin together; what they returned or raised."""
    barrier = threading.Barrier(len(functions))
    results = [None] * len(functions)

    def run(place, function):
        barrier.wait()
        try:
            results[place] = function()
        except Exception as error:
            results[place] = error
        finally:
            connection.close()

    threads = [
        threading.Thread(target=run, args=(place, function))
        for place, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def opened(project, wallet):
    """A request as dispatch hands it to the handler."""
    from walletconnect.crypto.envelope import Envelope
    from walletconnect.relay.rpc import parse

    made, key_pair_y = wallet.request(project)
    envelope = Envelope.decode(made.publish.message)
    return Inbound(
        pk=payload_id(),
        party=Party.CAST,
        topic=made.publish.topic,
        tag=4000,
        message_id=made.publish.message_id,
        published_at=clock.now_ms(),
        received_at=clock.now(),
        envelope_type=1,
        sym_key=made.sym_key_s,
        sender_public_key=key_pair_y.public_key,
        payload=parse(envelope.open(made.sym_key_s)),
    )


def test_two_devices_that_subscribe_at_once_are_one_newcomer(project):
    register_webhook(project, "https://hooks.example.org", events=["subscribed"])
    requests = [
        opened(project, Wallet("alice", device).register())
        for device in ("a", "b", "c", "d")
    ]

    def answer(request):
        with transaction.atomic():
            return subscribe.answer_all([request])

    results = at_once(*[lambda r=request: answer(r) for request in requests])
    assert results == [{}] * 4
    assert Subscriber.objects.count() == 4
    assert WebhookDelivery.objects.count() == 1


def test_the_same_request_at_two_workers_is_answered_once(project):
    request = opened(project, Wallet("alice").register())

    def answer():
        with transaction.atomic():
            return subscribe.answer_all([request])

    results = at_once(answer, answer)
    assert results == [{}, {}]
    assert Subscriber.objects.count() == 1
    assert len(set(OutboxMessage.objects.values_list("message_id", flat=True))) == 1


def test_batches_of_two_workers_do_not_deadlock(project):
    wallets = [Wallet(f"wallet{number}").register() for number in range(8)]
    requests = [opened(project, wallet) for wallet in wallets]

    def answer(batch):
        with transaction.atomic():
            return subscribe.answer_all(batch)

    results = at_once(
        lambda: answer(requests), lambda: answer(list(reversed(requests)))
    )
    assert results == [{}, {}]
    assert Subscriber.objects.count() == 8


def test_one_notification_id_at_two_processes_sends_once(project):
    many(project, 20)
    accounts = list(Subscriber.objects.values_list("account", flat=True))
    results = at_once(
        *[lambda: notify(project, DRAFT, accounts, notification_id="once")] * 3
    )
    assert all(set(each.sent) == set(accounts) for each in results), results
    assert Notification.objects.count() == 1
    assert Delivery.objects.count() == 20
    assert OutboxMessage.objects.filter(tag=4002).count() == 20


def test_chunks_are_built_once_by_however_many_workers(project):
    from castserver.services.notifications.delivery import CHUNK, send_deliveries

    many(project, CHUNK + 500)
    outcome = notify(project, DRAFT, accounts_of(CHUNK + 500))
    pk = str(outcome.notification_id)
    counts = at_once(*[lambda: send_deliveries(pk)] * 3)
    assert sum(counts) == CHUNK + 500, counts
    assert OutboxMessage.objects.filter(tag=4002).count() == CHUNK + 500


def test_a_key_runs_its_work_once(project):
    done = []
    began = threading.Event()

    def slow():
        done.append(1)
        began.wait(0.3)
        return Outcome(200, {"n": len(done)})

    results = at_once(*[lambda: once(project, "key", digest="0" * 64, work=slow)] * 3)
    assert done == [1]
    answers = [each for each in results if isinstance(each, Outcome)]
    assert {each.value["n"] for each in answers} == {1}
    refused = [each for each in results if not isinstance(each, Outcome)]
    assert all("still running" in str(each) for each in refused)


def test_an_event_is_claimed_once(project):
    register_webhook(project, "https://hooks.example.org", events=["subscribed"])
    queue_events([event(project)] * 3)
    # A lease ends with its session, so no session ends before all have claimed.
    all_claimed = threading.Barrier(3)

    def claim():
        found = _claim(10)
        all_claimed.wait(20)
        return found

    claims = at_once(claim, claim, claim)
    claimed = [each.delivery.pk for found in claims for each in found]
    assert len(claimed) == len(set(claimed)) == 3


def test_concurrent_first_calls_create_one_pair_of_server_keys(project):
    found = at_once(*[public_keys] * 4)
    assert len(set(found)) == 1, found
    assert ServerKeys.objects.count() == 1


def test_ids_are_unique_over_processes(project):
    from castserver.services.notifications.ids import rpc_ids

    found = at_once(*[lambda: rpc_ids(500)] * 4)
    ids = [number for each in found for number in each]
    assert len(ids) == len(set(ids)) == 2000


def test_the_inbox_serves_two_workers(project):
    """The whole way: what two workers claim is disjoint, and all of it is answered."""
    wallets = [Wallet(f"wallet{number}").register() for number in range(10)]
    deliver(*[wallet.request(project)[0].publish for wallet in wallets], handle=False)
    at_once(*[lambda: messaging.handle_due(20.0)] * 3)
    assert Subscriber.objects.count() == 10
    assert OutboxMessage.objects.filter(tag=4001).count() == 10
