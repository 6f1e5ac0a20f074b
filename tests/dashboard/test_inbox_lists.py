"""The inbox at length: whole lists, deletion, dates, saved filters, and 20,000 rows."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AccountEvent
from common import clock
from dashboard.models import SavedFilter
from dashboard.pages.inbox import PAGE, snooze_until
from subscriptions import services
from subscriptions.models import NotifyMessageRecord, Subscription
from subscriptions.services.messages import read_state
from tests.dashboard.conftest import text_of
from tests.dashboard.test_inbox import titles
from tests.subscriptions.world import deliver

TABLE = "subscriptions_notifymessagerecord"


@pytest.fixture
def fill(subscription):
    """``fill(number)``: notifications a minute apart, ``000`` the newest."""

    def fill(number: int, *, owner: Subscription | None = None, **values):
        newest = datetime(2026, 6, 15, 12, tzinfo=UTC)
        first = NotifyMessageRecord.objects.count() + 1
        NotifyMessageRecord.objects.bulk_create(
            [
                NotifyMessageRecord(
                    **{
                        "subscription": owner or subscription,
                        "rpc_id": first + place,
                        "type": "alerts",
                        "title": f"{place:03d}",
                        "body": "Something happened.",
                        "message_auth": "x",
                        "published_at": newest - timedelta(minutes=place),
                        "received_at": newest,
                    }
                    | values
                )
                for place in range(number)
            ],
            batch_size=5_000,
        )

    return fill


def undo_of(response) -> str:
    """The value of ``act`` that the Undo button of a response sends."""
    undo = json.loads(response.headers["HX-Trigger"])["done"]["undo"]
    if undo != "form":
        return undo
    (value,) = re.findall(r'id="undo-act" value="([^"]*)"', response.text)
    return value


def unread() -> int:
    return NotifyMessageRecord.objects.unread().count()


# --- whole lists ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [3, 1_200])
def test_all_of_a_list_are_read_and_unread_again(alice, fill, number):
    fill(number)
    fill(1, read_at=clock.now(), title="read before")
    done = alice.press("/inbox/act", act="read:all", list="tab=all")
    assert unread() == 0
    assert len(done.headers["HX-Trigger"]) < 2_000
    alice.press("/inbox/act", act=undo_of(done))
    assert unread() == number
    assert NotifyMessageRecord.objects.get(title="read before").read_at is not None


def test_mark_all_read_is_about_what_the_filter_shows(alice, fill):
    fill(2)
    fill(2, type="news")
    alice.press("/inbox/act", act="read:all", list="tab=unread&type=news")
    kept = NotifyMessageRecord.objects.unread().values_list("type", flat=True)
    assert list(kept) == ["alerts", "alerts"]
    assert (
        "2 notifications: marked as read."
        in alice.press(
            "/inbox/act", act="read:all", list="tab=unread&q=something"
        ).headers["HX-Trigger"]
    )


def test_reading_up_to_a_row_reads_it_and_what_is_older(alice, fill):
    fill(5)
    row = NotifyMessageRecord.objects.get(title="002")
    done = alice.press("/inbox/act", act=f"read:upto-{row.pk}", list="tab=unread")
    assert titles(alice.get("/inbox")) == ["000", "001"]
    alice.press("/inbox/act", act=undo_of(done))
    assert unread() == 5


def test_undo_of_many_chosen_fits_into_a_response(alice, fill):
    fill(600)
    chosen = list(NotifyMessageRecord.objects.values_list("pk", flat=True))
    done = alice.press("/inbox/act", act="archive:chosen", chosen=chosen)
    assert unread() == 0
    assert len(done.headers["HX-Trigger"]) < 1_000
    alice.press("/inbox/act", act=undo_of(done))
    assert unread() == 600


def test_undo_leaves_alone_what_was_read_before(alice, notify):
    first, second = notify(), notify()
    alice.press("/inbox/act", act=f"read:{first.pk}")
    done = alice.press("/inbox/act", act="read:chosen", chosen=[first.pk, second.pk])
    alice.press("/inbox/act", act=undo_of(done))
    assert list(NotifyMessageRecord.objects.unread()) == [second]


@pytest.mark.parametrize(
    "act",
    [
        "unread:all",
        "restore:all",
        "read:upto-x",
        "read:upto-",
        "read:at-1",
        "unread:at-x",
        "read:all-1",
        "read:-1",
    ],
)
def test_a_selection_that_is_none_is_refused(alice, notify, act):
    record = notify()
    assert alice.press("/inbox/act", act=act).status_code == 400
    record.refresh_from_db()
    assert record.read_at is None


def test_null_characters_in_a_view_are_ignored(alice, notify):
    notify()
    view = "q=%00&dapp=%00&type=%00&from=%00&account=%00"
    assert alice.press("/inbox/act", act="read:all", list=view).status_code == 200
    assert unread() == 0


def test_an_undo_of_a_time_out_of_range_changes_nothing(alice, notify):
    notify()
    assert alice.press("/inbox/act", act=f"unread:at-{'9' * 18}").status_code == 200


def test_more_than_can_be_chosen_is_refused(alice, notify):
    record = notify()
    chosen = [record.pk, *range(10**6, 10**6 + 900)]
    assert (
        alice.press("/inbox/act", act="read:chosen", chosen=chosen).status_code == 400
    )


def test_lists_of_another_user_do_not_change(alice, charlie, fill):
    fill(3)
    row = NotifyMessageRecord.objects.first()
    at = clock.now()
    for act in ("read:all", f"delete:upto-{row.pk}", "archive:all"):
        query = f"tab=all&account={alice.account.pk}"
        charlie.press("/inbox/act", act=act, list=query)
    assert unread() == 3
    services.mark_read(NotifyMessageRecord.objects.all(), alice.device, at)
    micro = int(at.timestamp()) * 10**6 + at.microsecond
    charlie.press("/inbox/act", act=f"unread:at-{micro}")
    assert unread() == 0


# --- deletion ---------------------------------------------------------------------------


def test_a_deleted_notification_leaves_every_device_and_returns_by_undo(alice, notify):
    record = notify(title="Gone")
    first, second = alice.browsers
    sequence = AccountEvent.objects.latest("pk").sequence
    done = first.press("/inbox/act", act=f"delete:{record.pk}")
    assert f'id="message-{record.pk}" data-list="messages" data-gone' in done.text
    for tab in ("unread", "all", "archived"):
        assert titles(second.get(f"/inbox?tab={tab}")) == []
    assert second.get(f"/inbox/{record.pk}").status_code == 404
    event = AccountEvent.objects.get(sequence=sequence + 1, user=alice.user)
    assert event.subject == f"{record._meta.label_lower}:{record.pk}"
    page = second.get(
        f"/live/events?sequence={sequence}&generation={alice.user.event_generation}"
    ).json()
    assert "data-gone" in page["frames"][0]["html"]
    second.press("/inbox/act", act=undo_of(done))
    assert titles(first.get("/inbox")) == ["Gone"]


def test_a_deleted_notification_is_not_stored_again(alice, dapp, subscription):
    message = dapp.notification(alice.account, title="Once")
    deliver(message)
    record = NotifyMessageRecord.objects.get()
    services.delete([record], alice.device)
    deliver(message)
    assert NotifyMessageRecord.objects.count() == 1
    assert titles(alice.get("/inbox?tab=all")) == []


def test_prune_empties_what_was_deleted_and_keeps_a_tombstone(alice, fill, monkeypatch):
    fill(3)
    kept, *deleted = NotifyMessageRecord.objects.order_by("-published_at")
    services.delete(deleted, alice.device)
    services.prune_deleted()
    assert NotifyMessageRecord.objects.exclude(body="").count() == 3
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + read_state.RESTORABLE_FOR)
    services.prune_deleted()
    assert [r.title for r in NotifyMessageRecord.objects.exclude(body="")] == [
        kept.title
    ]
    assert services.restore(NotifyMessageRecord.objects.all(), alice.device) == 0
    assert NotifyMessageRecord.objects.count() == 3
    monkeypatch.setattr(clock, "now", lambda: now + read_state.TOMBSTONES_FOR)
    services.prune_deleted()
    assert list(NotifyMessageRecord.objects.all()) == [kept]


def test_delete_of_the_open_notification_returns_to_the_list(alice, notify):
    record = notify()
    detail = alice.get(f"/inbox/{record.pk}").text.partition('id="detail"')[2]
    form = detail.partition(f'value="delete:{record.pk}"')[0].rpartition("<form")[2]
    assert form
    assert 'name="next"' not in form
    assert alice.post("/inbox/act", act=f"delete:{record.pk}")["Location"] == "/inbox"


# --- dates and chips --------------------------------------------------------------------


def test_days_are_those_of_the_reader_and_both_included(alice, fill):
    fill(1, published_at=datetime(2026, 6, 14, 21, 59, tzinfo=UTC), title="13th")
    fill(1, published_at=datetime(2026, 6, 14, 22, 1, tzinfo=UTC), title="15th")
    alice.browser.client.cookies["zone"] = "Europe/Berlin"
    assert titles(alice.get("/inbox?from=2026-06-15")) == ["15th"]
    assert titles(alice.get("/inbox?until=2026-06-14")) == ["13th"]
    assert len(titles(alice.get("/inbox?from=2026-06-14&until=2026-06-15"))) == 2


@pytest.mark.parametrize(
    "query",
    [
        "from=0001-01-01",
        "until=0001-01-01",
        "until=9999-12-31",
        "from=9999-12-31",
        "from=2026-02-30",
        "from=20260101",
    ],
)
def test_any_date_is_answered(alice, notify, query):
    notify()
    for zone in ("UTC", "Pacific/Kiritimati", "America/Los_Angeles"):
        alice.browser.client.cookies["zone"] = zone
        assert alice.get(f"/inbox?{query}").status_code == 200


def test_each_filter_has_a_chip_that_removes_it(alice, dapp, notify):
    notify(type="alerts")
    query = f"tab=all&dapp={dapp.url}&type=alerts&q=x&from=2026-01-02&until=2026-01-03"
    page = alice.get(f"/inbox?{query}")
    chips = re.findall(r'chip--remove" href="/inbox\?([^"]*)"', page.text)
    assert len(chips) == 5
    names = ("dapp", "type", "q", "from", "until")
    for removed, chip in zip(names, chips, strict=True):
        assert f"{removed}=" not in chip.replace("&amp;", "&").replace("tab=", "")
    assert "Type: alerts" in text_of(page)
    assert "Clear filters" in text_of(page)
    assert "chip--remove" not in alice.get("/inbox?tab=all").text


# --- saved filters ----------------------------------------------------------------------


def test_a_filter_is_saved_listed_replaced_and_removed(alice, charlie, notify):
    notify()
    there = alice.post("/inbox/filters", name="  Only  news ", list="tab=all&type=news")
    assert there["Location"] == "/inbox?tab=all&type=news"
    page = alice.get("/inbox")
    assert 'href="/inbox?tab=all&amp;type=news"' in page.text
    assert "Only news" in text_of(page)
    alice.post("/inbox/filters", name="Only news", list="tab=unread&type=news")
    saved = SavedFilter.objects.get()
    assert saved.query == "tab=unread&type=news"
    assert "Only news" not in text_of(charlie.get("/inbox"))
    assert charlie.post(f"/inbox/filters/{saved.pk}/remove").status_code == 404
    alice.post(f"/inbox/filters/{saved.pk}/remove")
    assert not SavedFilter.objects.exists()


@pytest.mark.parametrize("name", ["", "   ", "x" * 41])
def test_a_filter_without_a_proper_name_is_not_saved(alice, name):
    there = alice.post("/inbox/filters", name=name, list="q=x")
    assert "name" in text_of(alice.follow(there))
    assert not SavedFilter.objects.exists()


def test_a_filter_for_an_account_of_another_user_has_no_account(alice, charlie):
    charlie.get("/inbox")
    query = f"account={alice.account.pk}&q=x"
    charlie.post("/inbox/filters", name="Theirs", list=query)
    assert SavedFilter.objects.get().query == "tab=unread&q=x"


def test_a_user_stores_a_limited_number_of_filters(alice, settings):
    most = settings.LIMITS.saved_filters_per_user
    SavedFilter.objects.bulk_create(
        SavedFilter(user=alice.user, name=f"f{n}", query="", created_at=clock.now())
        for n in range(most)
    )
    alice.get("/inbox")
    there = alice.post("/inbox/filters", name="one more", list="q=x")
    assert "Remove one first" in text_of(alice.follow(there))
    assert SavedFilter.objects.count() == most


# --- many rows --------------------------------------------------------------------------


def rows_read(queries) -> int:
    """How many rows the queries read from the table of notifications."""

    def of(node) -> int:
        own = 0
        if node.get("Relation Name") == TABLE:
            assert node["Node Type"] != "Seq Scan", query["sql"]
            removed = node.get("Rows Removed by Filter", 0)
            own = (node["Actual Rows"] + removed) * node["Actual Loops"]
        return int(own) + sum(of(child) for child in node.get("Plans", []))

    total = 0
    with connection.cursor() as cursor:
        for query in queries:
            if TABLE not in query["sql"] or not query["sql"].startswith("SELECT"):
                continue
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query['sql']}")
            (plans,) = cursor.fetchone()
            found = json.loads(plans) if isinstance(plans, str) else plans
            total += of(found[0]["Plan"])
    return total


def expect_many_subscriptions(one: Subscription) -> None:
    """Leave statistics that are out of date, as they are after much was deleted: the
    planner expects thousands of subscriptions where there is one."""
    names = [f.attname for f in Subscription._meta.concrete_fields if not f.primary_key]
    values = {name: getattr(one, name) for name in names}
    many = Subscription.objects.bulk_create(
        Subscription(**values | {"topic": f"{number:064x}"}) for number in range(3_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE subscriptions_subscription")
        Subscription.objects.filter(pk__in=[row.pk for row in many]).delete()
        cursor.execute(f"ANALYZE {TABLE}")


def test_a_page_reads_as_few_rows_of_20000_as_of_the_first_page(alice, notify, fill):
    """The rows of the other tabs are as many: no list may look through them."""
    fill(20_000, read_at=clock.now())
    fill(20_000, archived_at=clock.now())
    fill(300, snoozed_until=clock.now() + timedelta(days=1))
    fill(300)
    expect_many_subscriptions(Subscription.objects.get())
    middle = NotifyMessageRecord.objects.in_inbox().order_by("-published_at")[250]
    for tab in ("unread", "all", "archived", "snoozed"):
        path = f"/inbox?tab={tab}"
        alice.get(path)
        for query in ("", f"before={middle.pk}"):
            with CaptureQueriesContext(connection) as queries:
                page = alice.get(f"{path}&{query}")
            assert len(titles(page)) >= 50, tab
            # Pages, and the unread count, which ends at 1,000.
            assert rows_read(queries.captured_queries) < 1_000 + 5 * PAGE, tab
            assert len(queries) <= 20, tab


# --- snooze -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "now", "until"),
    [
        ("1h", "2026-06-17T12:00", "2026-06-17T13:00"),
        ("evening", "2026-06-17T12:00", "2026-06-17T18:00"),
        ("evening", "2026-06-17T18:00", "2026-06-17T21:00"),
        ("evening", "2026-06-17T23:00", "2026-06-18T18:00"),
        ("morning", "2026-06-17T23:59", "2026-06-18T08:00"),
        ("week", "2026-06-17T12:00", "2026-06-22T08:00"),
        ("week", "2026-06-22T07:00", "2026-06-29T08:00"),
        # The night in which clocks go back.
        ("morning", "2026-10-24T12:00", "2026-10-25T08:00"),
    ],
)
def test_snooze_times_are_local(name, now, until, monkeypatch):
    zone = ZoneInfo("Europe/Berlin")
    at = datetime.fromisoformat(now).replace(tzinfo=zone)
    monkeypatch.setattr(clock, "now", lambda: at.astimezone(UTC))
    with timezone.override(zone):
        expected = datetime.fromisoformat(until).replace(tzinfo=zone)
        assert snooze_until(name) == expected


def test_a_snoozed_notification_returns_as_unread(alice, notify, monkeypatch):
    record = notify(title="Later")
    first, second = alice.browsers
    first.get(f"/inbox/{record.pk}")
    first.press("/inbox/act", act=f"snooze-1h:{record.pk}")
    for tab in ("unread", "all", "archived"):
        assert titles(second.get(f"/inbox?tab={tab}")) == []
    assert titles(second.get("/inbox?tab=snoozed")) == ["Later"]
    services.wake_snoozed()
    assert titles(second.get("/inbox")) == []
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(hours=1))
    sequence = AccountEvent.objects.latest("pk").sequence
    services.wake_snoozed()
    assert titles(second.get("/inbox")) == ["Later"]
    assert titles(second.get("/inbox?tab=snoozed")) == []
    event = AccountEvent.objects.get(sequence=sequence + 1, user=alice.user)
    assert event.subject == f"{record._meta.label_lower}:{record.pk}"


def test_undo_of_a_snooze_leaves_what_was_read_read(alice, notify):
    read, unread_one = notify(), notify()
    services.mark_read([read], alice.device)
    chosen = [read.pk, unread_one.pk]
    done = alice.press("/inbox/act", act="snooze-week:chosen", chosen=chosen)
    assert unread() == 0
    alice.press("/inbox/act", act=undo_of(done))
    assert list(NotifyMessageRecord.objects.unread()) == [unread_one]


@pytest.mark.parametrize("act", ["snooze-never:1", "snooze-1h:all", "snooze-:1"])
def test_a_snooze_without_a_time_or_of_a_whole_list_is_refused(alice, notify, act):
    notify()
    assert alice.press("/inbox/act", act=act).status_code == 400
    assert unread() == 1


def test_another_user_snoozes_nothing(alice, charlie, notify):
    record = notify()
    charlie.get("/inbox")
    answer = charlie.press("/inbox/act", act=f"snooze-1h:{record.pk}")
    assert answer.status_code == 404
    assert unread() == 1


def test_archived_and_deleted_notifications_do_not_return(alice, notify, monkeypatch):
    archived, deleted = notify(), notify()
    until = clock.now() + timedelta(hours=1)
    services.snooze([archived, deleted], alice.device, until)
    services.archive([archived], alice.device)
    services.delete([deleted], alice.device)
    monkeypatch.setattr(clock, "now", lambda: until)
    assert services.wake_snoozed() == 0
    assert unread() == 0
