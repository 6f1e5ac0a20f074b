"""The subscribers of a project: pages, filters, CSV, numbers by day."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest

from castserver.models import Project, Subscriber, SubscriberCount
from castserver.services.projects.projects import TypeDraft, create_project, set_types
from castserver.services.subscribers.counts import count_subscribers
from common import clock
from dashboard.pages import subscribers as pages
from tests.castserver.test_notify import many
from tests.dashboard.conftest import text_of

ROW = re.compile(r'<span class="mono" title="([^"]+)"')


@pytest.fixture
def lumen(alice) -> Project:
    types = [TypeDraft("alerts", name="Alerts"), TypeDraft("news", name="News")]
    project, _ = create_project("Lumen", owner=alice.user, types=types)
    return project


def shown(page) -> list[str]:
    return ROW.findall(page.text)


def test_every_subscriber_is_on_one_page(alice, lumen):
    many(lumen, 230)
    path, seen = "/console/lumen/subscribers", []
    while path:
        page = alice.get(path)
        seen += shown(page)
        older = re.search(r'href="\?([^"]*before=\d+)"', page.text)
        path = older and f"/console/lumen/subscribers?{older[1].replace('&amp;', '&')}"
    assert len(seen) == len(set(seen)) == 230


def test_subscribers_are_filtered(alice, lumen):
    many(lumen, 3)
    first = Subscriber.objects.order_by("pk")[0]
    Subscriber.objects.filter(pk=first.pk).update(scope=["news"])
    base = "/console/lumen/subscribers"
    assert shown(alice.get(f"{base}?type=news")) == [first.account]
    bare = first.account.rpartition(":")[2]
    for text in (bare, bare.upper().replace("0X", "0x"), f"eip155:137:{bare}"):
        page = alice.get(f"{base}?q={text}")
        assert shown(page) == [first.account]
    for query in ("q=nonsense", "type=x", "q=0x12", "before=0"):
        page = alice.get(f"{base}?{query}")
        assert shown(page) == []
        assert "No subscriber matches" in text_of(page)
    assert alice.get(f"{base}?before=99999999999999999999").status_code == 200


def test_all_are_in_the_csv_file(alice, lumen, monkeypatch):
    monkeypatch.setattr(pages, "CSV_PAGE", 2)
    many(lumen, 5)
    Subscriber.objects.filter(pk=Subscriber.objects.earliest("pk").pk).update(
        account="=HYPERLINK(1)", scope=["alerts", "news"]
    )
    answer = alice.get("/console/lumen/subscribers.csv")
    assert answer["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer).decode())))
    assert len(rows) == 5
    assert rows[0]["account"] == "'=HYPERLINK(1)"
    assert rows[0]["types"] == "alerts news"
    only = b"".join(alice.get("/console/lumen/subscribers.csv?type=news")).decode()
    assert only.count("\n") == 2


def test_others_see_none_of_it(alice, charlie, lumen):
    charlie.get("/console")
    for tail in ("", ".csv"):
        assert charlie.get(f"/console/lumen/subscribers{tail}").status_code == 404


def test_numbers_are_counted_by_day_and_type(alice, lumen, monkeypatch):
    many(lumen, 4)
    gone, *_ = Subscriber.objects.order_by("pk")
    Subscriber.objects.filter(pk=gone.pk).update(scope=["alerts", "news"])
    count_subscribers()
    # A second topic of an account is no second subscriber.
    twin = many(lumen, 1)
    assert twin
    count_subscribers()
    found = dict(SubscriberCount.objects.values_list("type_id", "number"))
    assert found == {"": 4, "alerts": 4, "news": 1}
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=1))
    Subscriber.objects.filter(account_key=gone.account_key).update(deleted_at=now)
    count_subscribers()
    numbers = pages.numbers_by_day(lumen, {"alerts": "Alerts", "news": "News"})
    assert [values[-2:] for _, values in numbers.rows] == [[4, 3], [4, 3], [1, 0]]
    page = alice.get("/console/lumen/subscribers")
    assert "Numbers by type" in text_of(page)


def test_a_type_that_ends_counts_nothing(lumen):
    many(lumen, 2)
    count_subscribers()
    Subscriber.objects.update(scope=[])
    set_types(lumen, [TypeDraft("news")])
    count_subscribers()
    found = dict(SubscriberCount.objects.values_list("type_id", "number"))
    assert found == {"": 2, "alerts": 0}
