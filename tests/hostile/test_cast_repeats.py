"""Repeated, late and reordered requests to the Cast Server.

A repeated request gets the same response bytes, an outdated one is refused, and the final
state does not depend on the order of arrival.
"""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from django.db import transaction

from castserver.models import (
    ChangedSubscriptions,
    Delivery,
    Subscriber,
    Watcher,
    WebhookDelivery,
)
from castserver.services.webhooks.webhooks import register_webhook
from common import clock, entropy
from common.limits import Bucket
from tests.castserver.world import Wallet, deliver, open_all, open_last, sent
from tests.hostile.endpoints import ENDPOINTS
from tests.hostile.tokens import Forgery, sealed_again
from tests.hostile.unchanged import nothing_changes, nothing_is_sent
from walletconnect.crypto.keys import SymKey
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.notify.methods import DELETE, UPDATE
from walletconnect.relay.rpc import JsonRpcError, JsonRpcResult, parse

HUNDRED = 100
OUTDATED = "outdated: overtaken by a newer request of the account"
GONE = "no subscription has this topic"


@pytest.fixture(autouse=True)
def high_rate_limits(settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS,
        notify_delete=Bucket(1000, 1),
        notify_update=Bucket(1000, 1),
        subscribe_client=Bucket(1000, 1),
    )


@pytest.fixture
def hook(project):
    return register_webhook(project, "https://hook.example.org", events=["subscribed"])[
        0
    ]


def live() -> list[Subscriber]:
    return list(Subscriber.objects.live(clock.now()).order_by("pk"))


# --- the same subscribe -----------------------------------------------------------------


def test_the_same_bytes_a_hundred_times_are_one_request(project, alice, hook):
    made, _ = alice.request(project)
    rows = deliver(*[made.publish] * HUNDRED)
    assert [row.state for row in rows] == ["handled"]
    with nothing_is_sent():
        for _ in range(3):
            assert deliver(*[made.publish] * HUNDRED) == []
    assert len(live()) == 1
    assert len(sent(made.response_topic)) == 1
    assert WebhookDelivery.objects.count() == 1


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one by one"])
def test_a_request_sealed_a_hundred_times_gets_one_response(
    project, alice, hook, together
):
    """Every response has the bytes of the first."""
    made, _ = alice.request(project)
    deliver(made.publish)
    copies = [sealed_again(made.publish, made.sym_key_s) for _ in range(HUNDRED)]
    assert len({each.message for each in copies}) == HUNDRED
    with nothing_changes():
        for batch in [copies] if together else [[each] for each in copies[:20]]:
            assert {row.state for row in deliver(*batch)} == {"handled"}
    assert len({row.message for row in sent(made.response_topic)}) == 1
    assert WebhookDelivery.objects.count() == 1


def test_a_hundred_requests_of_an_account_are_one_subscriber(
    project, alice, hook, settings
):
    """Each response has a key of its own; the newest twenty topics stay."""
    requests = [alice.request(project)[0] for _ in range(HUNDRED)]
    rows = deliver(*(each.publish for each in requests))
    assert {row.state for row in rows} == {"handled"}
    answers = [parse(open_last(each.sym_key_s)) for each in requests]
    assert all(isinstance(each, JsonRpcResult) for each in answers)
    assert [each.id for each in answers] == [
        each.pending.request_id for each in requests
    ]
    assert len(live()) == 20
    assert {row.account for row in live()} == {str(alice.account)}
    assert WebhookDelivery.objects.count() == 1


def test_a_flood_of_requests_is_refused_without_new_rows(project, alice, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, subscribe_client=Bucket(5, 0.001)
    )
    for _ in range(5):
        alice.subscribe(project)
    requests = [alice.request(project)[0] for _ in range(HUNDRED)]
    with nothing_changes():
        rows = deliver(*(each.publish for each in requests))
    error = "too many requests, try again later"
    assert {(row.state, row.reason) for row in rows} == {
        ("refused", f"refused: {error}")
    }
    for each in requests:
        answer = parse(open_last(each.sym_key_s))
        assert answer == JsonRpcError(each.pending.request_id, -1, error)


# --- outdated requests ------------------------------------------------------------------


@pytest.fixture
def make_request(project, alice):
    """Builders of Alice's requests on her notify topic, issued at an offset from now."""
    subscription = alice.subscribe(project, now=clock.now_s() - 60)

    def make_request(method, seconds, **claims):
        forgery = Forgery(project, alice, method, subscription.sym_key)
        iat = clock.now_s() + seconds
        token = forgery.token(iat=iat, exp=iat + 300, **claims)
        return forgery, forgery.publication(token)

    return make_request


def answer_of(forgery):
    return parse(open_last(forgery.answer_key, forgery.method.response_tag))


def test_an_update_repeated_after_a_newer_one_is_refused(make_request):
    forgery, older = make_request(UPDATE, -20, scp="alerts")
    _, newer = make_request(UPDATE, -10, scp="news")
    deliver(older)
    deliver(newer)
    with nothing_is_sent():
        assert deliver(older) == []
    with nothing_changes():
        [row] = deliver(sealed_again(older, forgery.answer_key))
    assert (row.state, row.reason) == ("refused", OUTDATED)
    assert answer_of(forgery) == JsonRpcError(
        forgery.request_id, -1, OUTDATED.partition(": ")[2]
    )
    assert live()[0].scope == ["news"]


@pytest.mark.parametrize("method", [UPDATE, DELETE], ids=lambda m: m.name)
def test_requests_on_a_deleted_topic_are_dropped(make_request, method):
    forgery, before = make_request(method, -20)
    _, delete = make_request(DELETE, -10)
    _, after = make_request(method, -5)
    deliver(delete)
    with nothing_is_sent():
        rows = deliver(before, after, delete, sealed_again(delete, forgery.answer_key))
    assert {(row.state, row.reason) for row in rows} == {("refused", GONE)}


def test_a_repeated_delete_does_not_end_a_later_subscription(
    project, alice, make_request
):
    forgery, delete = make_request(DELETE, -10)
    deliver(delete)
    again = alice.subscribe(project)
    on_the_new_topic = Forgery(
        project, alice, DELETE, again.sym_key, forgery.request_id
    ).publication(forgery.token(iat=clock.now_s() - 10))
    with nothing_changes():
        rows = deliver(
            sealed_again(delete, forgery.answer_key),
            on_the_new_topic,
        )
    assert [row.reason for row in rows] == [GONE, OUTDATED]
    assert [row.topic for row in live()] == [again.topic]


def test_a_subscribe_issued_before_the_delete_does_not_undo_it(
    project, alice, make_request
):
    late, _ = alice.request(project, now=clock.now_s() - 30)
    deliver(make_request(DELETE, -10)[1])
    with nothing_changes():
        [row] = deliver(late.publish)
    assert row.state == "refused"
    assert isinstance(parse(open_last(late.sym_key_s)), JsonRpcError)
    assert live() == []


def test_the_order_of_arrival_does_not_change_the_final_state(make_request):
    """``iat`` decides, not the time of arrival."""
    updates = [
        make_request(UPDATE, -40, scp="")[1],
        make_request(UPDATE, -30, scp="alerts")[1],
        make_request(UPDATE, -20, scp="news")[1],
    ]
    delete = make_request(DELETE, -10)[1]
    for order in itertools.permutations([*updates[1:], delete]):
        with transaction.atomic():
            for each in order:
                deliver(each)
            assert live() == []
            transaction.set_rollback(True)
    for order in itertools.permutations(updates):
        with transaction.atomic():
            for each in order:
                deliver(each)
            assert [row.scope for row in live()] == [["news"]]
            transaction.set_rollback(True)


# --- receipts, pages, watches -----------------------------------------------------------


@pytest.fixture
def phone():
    return Wallet("alice", statement=ALL_APPS_STATEMENT).register()


def test_a_receipt_a_hundred_times_is_one(project, phone):
    receipt = ENDPOINTS["receipt"](project, phone, phone.subscribe(project))
    deliver(receipt.publish)
    assert Delivery.objects.get().receipt_at is not None
    copies = [sealed_again(receipt.publish, receipt.sym_key) for _ in range(HUNDRED)]
    with nothing_is_sent():
        rows = deliver(*copies)
    assert {row.state for row in rows} == {"handled"}


def test_a_receipt_for_an_unknown_notification_is_dropped(project, phone):
    receipt = ENDPOINTS["receipt"](project, phone, phone.subscribe(project))
    Delivery.objects.all().delete()
    with nothing_is_sent():
        deliver(receipt.publish)


def test_a_hundred_watches_of_a_device_are_one_watcher(project, phone):
    subscription = phone.subscribe(project)
    watches = [ENDPOINTS["watch"](project, phone, subscription) for _ in range(HUNDRED)]
    rows = deliver(*(each.publish for each in watches))
    assert {row.state for row in rows} == {"handled"}
    assert Watcher.objects.get().response_topic == watches[-1].sym_key.topic
    with nothing_is_sent():
        assert deliver(*(each.publish for each in watches)) == []


@pytest.mark.parametrize("case_name", ["read", "mark"])
def test_a_repeated_read_gets_a_response_and_changes_nothing(project, phone, case_name):
    case = ENDPOINTS[case_name](project, phone, phone.subscribe(project))
    deliver(case.publish)
    copies = [sealed_again(case.publish, case.sym_key) for _ in range(20)]
    before = ChangedSubscriptions.objects.count()
    rows = deliver(*copies)
    assert {row.state for row in rows} == {"handled"}
    answers = open_all(case.sym_key, case.response_tag)
    assert len({each.id for each in answers}) == 1
    assert all(isinstance(each, JsonRpcResult) for each in answers)
    assert ChangedSubscriptions.objects.count() == before


# --- requests that arrive early ---------------------------------------------------------


@pytest.mark.parametrize("method", [UPDATE, DELETE], ids=lambda m: m.name)
def test_a_request_on_an_unknown_topic_is_dropped(project, alice, method):
    somewhere = SymKey(entropy.key_bytes())
    forgery = Forgery(project, alice, method, somewhere)
    with nothing_is_sent():
        [row] = deliver(forgery.publication(forgery.token()))
    assert (row.state, row.reason) == ("refused", "no key for this topic")


def test_a_key_registered_late_subscribes_with_the_next_request(project):
    late = Wallet("bob")
    first, _ = late.request(project)
    with nothing_changes():
        [row] = deliver(first.publish)
    assert row.reason == "unauthentic: the key server does not know the identity key"
    late.register()
    assert late.subscribe(project).topic == live()[0].topic
