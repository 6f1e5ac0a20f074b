"""The same request again and again, late, and in the wrong order, at the Cast Server.

reliability.md, items 7 to 9, F15 to F17. What was answered is answered with the same bytes;
what is overtaken is refused; in whatever order messages come, the end is the same.
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
from tests.hostile.endpoints import DOORS
from tests.hostile.tokens import Forgery, sealed_again
from tests.hostile.unchanged import nobody_is_answered, nothing_changes
from walletconnect.crypto.keys import SymKey
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.notify.methods import DELETE, UPDATE
from walletconnect.relay.rpc import JsonRpcError, JsonRpcResult, parse

HUNDRED = 100
OUTDATED = "outdated: overtaken by a newer request of the account"
GONE = "nobody is subscribed on this topic"


@pytest.fixture(autouse=True)
def no_haste(settings):
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
    with nobody_is_answered():
        for _ in range(3):
            assert deliver(*[made.publish] * HUNDRED) == []
    assert len(live()) == 1
    assert len(sent(made.response_topic)) == 1
    assert WebhookDelivery.objects.count() == 1


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one by one"])
def test_a_request_sealed_a_hundred_times_gets_one_answer(
    project, alice, hook, together
):
    """Every copy that is answered at all is answered with the bytes of the first."""
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
    """Each is answered with a key of its own; the newest twenty topics stay."""
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


def test_who_goes_on_asking_is_told_to_stop_and_nothing_more_is_made(
    project, alice, settings
):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, subscribe_client=Bucket(5, 0.001)
    )
    for _ in range(5):
        alice.subscribe(project)
    requests = [alice.request(project)[0] for _ in range(HUNDRED)]
    with nothing_changes():
        rows = deliver(*(each.publish for each in requests))
    told = "too many requests, try again later"
    assert {(row.state, row.reason) for row in rows} == {
        ("refused", f"refused: {told}")
    }
    for each in requests:
        answer = parse(open_last(each.sym_key_s))
        assert answer == JsonRpcError(each.pending.request_id, -1, told)


# --- what is overtaken ------------------------------------------------------------------


@pytest.fixture
def said(project, alice):
    """Makers of Alice's words on her notify topic, dated so many seconds from now."""
    subscription = alice.subscribe(project, now=clock.now_s() - 60)

    def said(method, seconds, **claims):
        forgery = Forgery(project, alice, method, subscription.sym_key)
        iat = clock.now_s() + seconds
        token = forgery.token(iat=iat, exp=iat + 300, **claims)
        return forgery, forgery.publication(token)

    return said


def answer_of(forgery):
    return parse(open_last(forgery.answer_key, forgery.method.response_tag))


def test_an_update_said_again_after_a_newer_one_is_overtaken(said):
    forgery, older = said(UPDATE, -20, scp="alerts")
    _, newer = said(UPDATE, -10, scp="news")
    deliver(older)
    deliver(newer)
    with nobody_is_answered():
        assert deliver(older) == []
    with nothing_changes():
        [row] = deliver(sealed_again(older, forgery.answer_key))
    assert (row.state, row.reason) == ("refused", OUTDATED)
    assert answer_of(forgery) == JsonRpcError(
        forgery.request_id, -1, OUTDATED.partition(": ")[2]
    )
    assert live()[0].scope == ["news"]


@pytest.mark.parametrize("method", [UPDATE, DELETE], ids=lambda m: m.name)
def test_nothing_is_heard_on_a_topic_that_was_left(said, method):
    forgery, before = said(method, -20)
    _, farewell = said(DELETE, -10)
    _, after = said(method, -5)
    deliver(farewell)
    with nobody_is_answered():
        rows = deliver(
            before, after, farewell, sealed_again(farewell, forgery.answer_key)
        )
    assert {(row.state, row.reason) for row in rows} == {("refused", GONE)}


def test_a_farewell_said_again_does_not_end_what_came_after(project, alice, said):
    forgery, farewell = said(DELETE, -10)
    deliver(farewell)
    again = alice.subscribe(project)
    on_the_new_topic = Forgery(
        project, alice, DELETE, again.sym_key, forgery.request_id
    ).publication(forgery.token(iat=clock.now_s() - 10))
    with nothing_changes():
        rows = deliver(
            sealed_again(farewell, forgery.answer_key),
            on_the_new_topic,
        )
    assert [row.reason for row in rows] == [GONE, OUTDATED]
    assert [row.topic for row in live()] == [again.topic]


def test_a_subscribe_from_before_the_farewell_does_not_undo_it(project, alice, said):
    late, _ = alice.request(project, now=clock.now_s() - 30)
    deliver(said(DELETE, -10)[1])
    with nothing_changes():
        [row] = deliver(late.publish)
    assert row.state == "refused"
    assert isinstance(parse(open_last(late.sym_key_s)), JsonRpcError)
    assert live() == []


def test_words_of_an_account_end_alike_in_every_order(said):
    """By the time in the words, not by the time of their coming."""
    words = [
        said(UPDATE, -40, scp="")[1],
        said(UPDATE, -30, scp="alerts")[1],
        said(UPDATE, -20, scp="news")[1],
    ]
    farewell = said(DELETE, -10)[1]
    for order in itertools.permutations([*words[1:], farewell]):
        with transaction.atomic():
            for each in order:
                deliver(each)
            assert live() == []
            transaction.set_rollback(True)
    for order in itertools.permutations(words):
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
    receipt = DOORS["receipt"](project, phone, phone.subscribe(project))
    deliver(receipt.publish)
    assert Delivery.objects.get().receipt_at is not None
    copies = [sealed_again(receipt.publish, receipt.sym_key) for _ in range(HUNDRED)]
    with nobody_is_answered():
        rows = deliver(*copies)
    assert {row.state for row in rows} == {"handled"}


def test_a_receipt_for_a_notification_that_is_not_there_is_nothing(project, phone):
    receipt = DOORS["receipt"](project, phone, phone.subscribe(project))
    Delivery.objects.all().delete()
    with nobody_is_answered():
        deliver(receipt.publish)


def test_a_hundred_watches_of_a_device_are_one_watcher(project, phone):
    subscription = phone.subscribe(project)
    watches = [DOORS["watch"](project, phone, subscription) for _ in range(HUNDRED)]
    rows = deliver(*(each.publish for each in watches))
    assert {row.state for row in rows} == {"handled"}
    assert Watcher.objects.get().response_topic == watches[-1].sym_key.topic
    with nobody_is_answered():
        assert deliver(*(each.publish for each in watches)) == []


@pytest.mark.parametrize("door", ["read", "mark"])
def test_a_question_asked_again_is_answered_again_and_changes_nothing(
    project, phone, door
):
    knock = DOORS[door](project, phone, phone.subscribe(project))
    deliver(knock.publish)
    copies = [sealed_again(knock.publish, knock.sym_key) for _ in range(20)]
    before = ChangedSubscriptions.objects.count()
    rows = deliver(*copies)
    assert {row.state for row in rows} == {"handled"}
    answers = open_all(knock.sym_key, knock.response_tag)
    assert len({each.id for each in answers}) == 1
    assert all(isinstance(each, JsonRpcResult) for each in answers)
    assert ChangedSubscriptions.objects.count() == before


# --- requests before their time ---------------------------------------------------------


@pytest.mark.parametrize("method", [UPDATE, DELETE], ids=lambda m: m.name)
def test_a_word_on_a_topic_that_is_not_there_yet_is_silence(project, alice, method):
    somewhere = SymKey(entropy.key_bytes())
    forgery = Forgery(project, alice, method, somewhere)
    with nobody_is_answered():
        [row] = deliver(forgery.publication(forgery.token()))
    assert (row.state, row.reason) == ("refused", "no key for this topic")


def test_who_registers_late_subscribes_with_the_next_request(project):
    late = Wallet("bob")
    first, _ = late.request(project)
    with nothing_changes():
        [row] = deliver(first.publish)
    assert row.reason == "unauthentic: the key server does not know the identity key"
    late.register()
    assert late.subscribe(project).topic == live()[0].topic
