"""A project's counters: what deliveries say, without counting them, and for good."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import Count, Sum

from castserver.models import Delivery, Notification, ProjectCount
from castserver.services.notifications.notify import notify
from castserver.services.notifications.read_state import mark_all_as_read
from castserver.services.upkeep import prune
from common import clock
from dashboard.pages import console
from tests.castserver.test_side_by_side import DRAFT, many

COUNTED = ("notifications", "sent", "received", "read")

pytestmark = pytest.mark.django_db


def counters(project):
    sums = {name: Sum(name, default=0) for name in COUNTED}
    return project.counts.aggregate(**sums)


def counted(project):
    rows = Delivery.objects.filter(notification__project=project)
    return {
        "notifications": project.notifications.count(),
        **rows.aggregate(
            sent=Count("sent_at"), received=Count("receipt_at"), read=Count("read_at")
        ),
    }


def accounts(project):
    return list(project.subscribers.values_list("account", flat=True))


def test_counters_follow_every_change_of_deliveries(project):
    many(project, 12)
    notify(project, DRAFT, accounts(project))
    notify(project, DRAFT, accounts(project)[:5])
    assert counters(project) == counted(project)
    assert counters(project)["sent"] == 17
    now = clock.now()
    some = Delivery.objects.values_list("pk", flat=True)[:6]
    Delivery.objects.filter(pk__in=list(some)).update(receipt_at=now)
    # Again: nothing is counted twice.
    Delivery.objects.filter(pk__in=list(some)).update(receipt_at=now, open_count=1)
    mark_all_as_read(project)
    assert counters(project) == counted(project)
    assert counters(project) == {
        "notifications": 2,
        "sent": 17,
        "received": 6,
        "read": 17,
    }
    Delivery.objects.update(read_at=None)
    assert counters(project) == counted(project)


def test_parts_are_merged_and_pruning_subtracts_nothing(project):
    many(project, 3)
    for _ in range(4):
        notify(project, DRAFT, accounts(project))
    before = counters(project)
    assert ProjectCount.objects.count() > 1
    prune()
    assert counters(project) == before
    assert ProjectCount.objects.count() == 1
    with clock.frozen(clock.now() + timedelta(days=181)):
        prune()
    assert not Delivery.objects.exists()
    assert not Notification.objects.exists()
    assert counters(project) == before


def test_the_overview_shows_the_counters(project):
    many(project, 3)
    notify(project, DRAFT, accounts(project))
    shown = console.overview(project)
    assert (shown.sent, shown.received, shown.subscribers) == (3, 0, 3)
    assert shown.per_day[-1] == 3
    Delivery.objects.all().delete()
    assert console.overview(project).sent == 3


def test_many_subscribers_are_counted_every_five_minutes(project, monkeypatch):
    monkeypatch.setattr(console, "MAX_COUNTED_ALWAYS", 10)
    for number, shown in ((8, 8), (16, 16), (24, 16)):
        many(project, number)  # the first accounts get another topic each
        assert console.subscriber_count(project) == shown
