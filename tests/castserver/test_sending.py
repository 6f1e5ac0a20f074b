"""Lists, schedules, templates, dry runs and retries: what owners send with."""

from __future__ import annotations

import dataclasses
import io
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from castserver.models import (
    Broadcast,
    Delivery,
    Notification,
    Recipient,
    RecipientList,
    Subscriber,
    Undelivered,
)
from castserver.services.errors import Invalid, TooMany
from castserver.services.notifications import broadcast as module
from castserver.services.notifications import recipients
from castserver.services.notifications.broadcast import (
    EVERYONE,
    Schedule,
    Target,
    broadcast_to,
    cancel_broadcast,
    retry_failed,
    send_due_broadcasts,
)
from castserver.services.notifications.delivery import send_due_chunk
from castserver.services.notifications.dry_run import dry_run
from castserver.services.notifications.notify import (
    NOT_ALLOWED,
    NOT_FOUND,
    TOO_MANY,
    notify,
)
from castserver.services.notifications.recipients import (
    BadLines,
    delete_list,
    prune_lists,
    upload_list,
)
from castserver.services.notifications.schedule import scheduled_time
from castserver.services.notifications.templates import (
    render,
    save_template,
    variables_of,
)
from castserver.services.projects.closing import close_project
from castserver.services.projects.projects import create_project
from castserver.services.upkeep import prune
from common import clock
from messaging.models import OutboxMessage
from tests.castserver.test_notify import DRAFT, accounts_of, many
from walletconnect.notify.values import NotifyMessage

pytestmark = pytest.mark.django_db

ACCOUNT = "eip155:1:0x" + "ab" * 20


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 20)
    monkeypatch.setattr(module, "BROADCAST_CHUNK", 30)


def work() -> None:
    while send_due_broadcasts() or send_due_chunk():
        pass


def upload(project, text, **options):
    content = text if isinstance(text, bytes) else text.encode()
    return upload_list(project, "people.csv", io.BytesIO(content), **options)


def accounts_in(found):
    rows = Recipient.objects.filter(recipients=found)
    return list(rows.order_by("account_key").values_list("account", flat=True))


# --- lists --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        ACCOUNT,
        f"{ACCOUNT}\r\n\r\n",
        f"\ufeffaccount\n{ACCOUNT}\n",
        f"name;Address\nAda;{ACCOUNT}\n",
        f'name,wallet\n"Ada, Countess",{ACCOUNT}\n',
        f'"{ACCOUNT}"\t1\n',
        f"Ada,{ACCOUNT}\nBea,{ACCOUNT.upper().replace('EIP155:1:0X', 'eip155:10:0x')}",
        f"\u200b{ACCOUNT} \n",
        "0x" + "ab" * 20,
    ],
)
def test_one_account_of_a_file_in_its_usual_forms(project, text):
    assert accounts_in(upload(project, text)) == [ACCOUNT]


def test_bad_lines_are_named_and_nothing_is_stored(project):
    lines = ["account", ACCOUNT, "nonsense", "", "0x12", '"', f"eip155:1:0x{'9' * 39}z"]
    with pytest.raises(BadLines) as refused:
        upload(project, "\n".join(lines))
    assert [each.number for each in refused.value.lines] == [3, 5, 6, 7]
    assert refused.value.lines[0].text == "nonsense"
    assert "CAIP-10" in refused.value.lines[0].reason
    assert not RecipientList.objects.exists()
    assert not Recipient.objects.exists()
    found = upload(project, "\n".join(lines), leave_out=True)
    assert (found.size, found.left_out) == (1, 4)


def test_many_bad_lines_are_counted_and_the_first_named(project):
    with pytest.raises(BadLines) as refused:
        upload(project, "x\n" * 200)
    assert (refused.value.count, len(refused.value.lines)) == (200, 50)
    assert "200 lines" in refused.value.reason


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00\x01", b"\x00" * 9, b"PK\x03\x04\n\x00"]
)
def test_what_is_no_csv_is_refused(project, content):
    with pytest.raises(BadLines):
        upload(project, content)


@pytest.mark.parametrize("text", ["", "\n\n", "account\n"])
def test_an_empty_file_is_refused(project, text):
    with pytest.raises(Invalid, match="names no account"):
        upload(project, text)


def test_a_line_without_an_end_stays_out_of_memory(project):
    tracemalloc.start()
    with pytest.raises(BadLines, match="one line"):
        upload(project, b"9" * 20_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 25_000_000  # the file itself, and little else


def test_lists_have_limits(project, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, recipients_per_list=3, recipient_lists_per_project=1
    )
    with pytest.raises(Invalid, match="line 5: a list has at most 3 lines"):
        upload(project, "\n".join(["account", *accounts_of(4)]))
    assert not RecipientList.objects.exists()
    upload(project, "\n".join(["account", *accounts_of(3)]))
    with pytest.raises(TooMany, match="at most 1 lists"):
        upload(project, ACCOUNT)


def test_the_lists_of_all_projects_of_a_person_have_a_limit(
    project, settings, django_user_model
):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, recipients_per_owner=5)
    person = django_user_model.objects.create(username="owner")
    second, _ = create_project("Second", owner=person)
    third, _ = create_project("Third", owner=person)
    upload(project, "\n".join(accounts_of(9)))  # of another person
    upload(second, "\n".join(accounts_of(3)))
    with pytest.raises(TooMany, match="at most 5 accounts together"):
        upload(third, "\n".join(accounts_of(3)))
    assert not third.recipient_lists.exists()
    upload(third, "\n".join(accounts_of(2)))


def test_a_list_is_sent_to_in_chunks_and_each_account_has_an_outcome(
    project, small_chunks
):
    many(project, 70)
    Subscriber.objects.filter(account_key__endswith="5").update(scope=["news"])
    found = upload(project, "\n".join(accounts_of(90)))
    broadcast_to(project, DRAFT, Target(recipients=found))
    work()
    row = Broadcast.objects.get()
    refused = Subscriber.objects.filter(scope=["news"]).count()
    assert (row.sent, row.failed, row.expected) == (70 - refused, 20 + refused, 90)
    assert row.finished_at
    assert Delivery.objects.count() == 70 - refused
    reasons = list(Undelivered.objects.values_list("reason", flat=True))
    assert reasons.count(NOT_FOUND) == 20
    assert reasons.count(NOT_ALLOWED) == refused


def test_a_list_that_is_still_to_be_sent_to_is_kept(project):
    found = upload(project, ACCOUNT)
    later = Schedule(clock.now() + timedelta(days=60))
    outcome = broadcast_to(project, DRAFT, Target(recipients=found), schedule=later)
    RecipientList.objects.update(created_at=F("created_at") - timedelta(days=31))
    assert prune_lists() == 0
    with pytest.raises(Invalid, match="cancel it first"):
        delete_list(found)
    cancel_broadcast(Notification.objects.get(pk=outcome.notification_id))
    assert prune_lists() == 1
    assert not Recipient.objects.exists()
    assert Broadcast.objects.get().recipients is None


def test_a_project_with_lists_and_schedules_can_be_closed(project):
    found = upload(project, ACCOUNT)
    later = Schedule(clock.now() + timedelta(days=1))
    broadcast_to(project, DRAFT, Target(recipients=found), schedule=later)
    save_template(project, "t", DRAFT)
    close_project(project)
    assert not RecipientList.objects.exists()


# --- schedules ----------------------------------------------------------------------------


def test_a_scheduled_notification_is_sent_once_at_its_time(project):
    many(project, 3)
    now = clock.now()
    later = Schedule(now + timedelta(hours=1), "Europe/Berlin")
    for _ in range(2):
        broadcast_to(project, DRAFT, EVERYONE, notification_id="once", schedule=later)
    # Who subscribes until then gets it, too.
    with clock.frozen(now + timedelta(minutes=59)):
        work()
        assert Delivery.objects.count() == 0
        assert Broadcast.objects.get().is_waiting
    with clock.frozen(now + timedelta(minutes=61)):
        work()
        work()
    assert Delivery.objects.count() == 3
    assert OutboxMessage.objects.filter(tag=4002).count() == 3
    assert not Broadcast.objects.get().is_waiting


def test_a_scheduled_notification_can_be_cancelled(project):
    many(project, 3)
    later = Schedule(clock.now() + timedelta(hours=1))
    outcome = broadcast_to(project, DRAFT, EVERYONE, schedule=later)
    notification = Notification.objects.get(pk=outcome.notification_id)
    assert cancel_broadcast(notification)
    with clock.frozen(later.at + timedelta(minutes=1)):
        work()
    assert Delivery.objects.count() == 0
    assert not cancel_broadcast(notification)


def test_a_scheduled_notification_is_kept_until_its_time(project):
    """However long it waits, retention takes neither it nor its accounts."""
    many(project, 1)
    later = Schedule(clock.now() + timedelta(days=360))
    broadcast_to(project, DRAFT, Target(accounts=accounts_of(1)), schedule=later)
    Subscriber.objects.update(expires_at=later.at + timedelta(days=1))
    with clock.frozen(later.at - timedelta(days=1)):
        prune()
    with clock.frozen(later.at + timedelta(seconds=1)):
        work()
    assert Delivery.objects.count() == 1


def test_named_accounts_can_be_scheduled(project):
    many(project, 3)
    later = Schedule(clock.now() + timedelta(hours=1))
    target = Target(accounts=accounts_of(4))
    broadcast_to(project, DRAFT, target, schedule=later)
    with clock.frozen(later.at + timedelta(seconds=1)):
        work()
    assert Delivery.objects.count() == 3
    assert Undelivered.objects.get().reason == NOT_FOUND
    with pytest.raises(Invalid, match="not a CAIP-10"):
        broadcast_to(project, DRAFT, Target(accounts=["x"]), schedule=later)


def test_schedules_are_limited(project, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, scheduled_per_project=2)
    later = Schedule(clock.now() + timedelta(hours=1))
    for _ in range(2):
        broadcast_to(project, DRAFT, EVERYONE, schedule=later)
    with pytest.raises(TooMany, match="at most 2 scheduled"):
        broadcast_to(project, DRAFT, EVERYONE, schedule=later)
    assert Notification.objects.count() == 2


@pytest.mark.parametrize(
    ("text", "zone", "utc"),
    [
        ("2027-03-28T01:59", "Europe/Berlin", "2027-03-28T00:59"),
        ("2027-03-28T03:00", "Europe/Berlin", "2027-03-28T01:00"),
        # Comes twice: the first of the two, in summer time.
        ("2027-10-31T02:30", "Europe/Berlin", "2027-10-31T00:30"),
        ("2027-10-31T03:00", "Europe/Berlin", "2027-10-31T02:00"),
        ("2027-06-01 09:00", "Asia/Kathmandu", "2027-06-01T03:15"),
        ("2027-01-01T00:00:30", "UTC", "2027-01-01T00:00:30"),
    ],
)
def test_a_local_time_is_an_instant(text, zone, utc):
    with clock.frozen(datetime(2026, 11, 29, 12, tzinfo=UTC)):
        expected = datetime.fromisoformat(utc).replace(tzinfo=UTC)
        assert scheduled_time(text, zone) == expected


@pytest.mark.parametrize(
    ("text", "zone", "message"),
    [
        ("2027-03-28T02:30", "Europe/Berlin", "does not exist in Europe/Berlin"),
        ("2026-11-29T12:00", "UTC", "is past; it is 2026-11-29 12:00"),
        ("2026-11-29T20:00", "Asia/Tokyo", "is past"),
        ("2030-01-01T00:00", "UTC", "at most 366 days"),
        ("", "UTC", "enter a date and a time"),
        ("tomorrow", "UTC", "enter a date and a time"),
        ("2027-01-01T00:00+02:00", "UTC", "without an offset"),
        ("2027-01-01T00:00", "Mars/Olympus", "not a time zone"),
        ("2027-01-01T00:00", "../../etc/passwd", "not a time zone"),
        ("0001-01-01T00:00", "Asia/Tokyo", "out of range"),
        ("9999-12-31T23:59", "America/New_York", "out of range"),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(text, zone, message):
    frozen = clock.frozen(datetime(2026, 11, 29, 12, tzinfo=UTC))
    with frozen, pytest.raises(Invalid, match=message):
        scheduled_time(text, zone)


# --- everyone who allows another type, dry runs, retries ------------------------------------


def test_everyone_who_allows_another_type_too(project, small_chunks):
    many(project, 50)
    both = Subscriber.objects.filter(account_key__endswith="7")
    both.update(scope=["alerts", "news"])
    broadcast_to(project, DRAFT, Target(also_type="news"))
    work()
    assert Delivery.objects.count() == both.count() > 0


def test_a_dry_run_predicts_each_account_and_changes_nothing(
    project, small_chunks, settings
):
    many(project, 60)
    Subscriber.objects.filter(account_key__endswith="5").update(scope=["news"])
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS,
        notify_subscriber=type(settings.LIMITS.notify_subscriber)(1, 1e-6),
    )
    notify(project, DRAFT, accounts_of(1))
    found = upload(project, "\n".join(accounts_of(70)))
    before = Notification.objects.count(), Delivery.objects.count()
    for target in (Target(recipients=found), Target(accounts=accounts_of(70))):
        checked = dry_run(project, DRAFT, target)
        assert (checked.would_send, checked.checked, checked.total) == (55, 70, 70)
        assert checked.reasons == {NOT_FOUND: 10, NOT_ALLOWED: 4, TOO_MANY: 1}
        assert len(checked.named) == 15
    everyone = dry_run(project, DRAFT, EVERYONE)
    assert everyone.reasons == {NOT_ALLOWED: 4, TOO_MANY: 1}
    assert (Notification.objects.count(), Delivery.objects.count()) == before
    broadcast_to(project, DRAFT, Target(recipients=found))
    work()
    row = Broadcast.objects.get()
    assert (row.sent, row.failed) == (55, 15)


def test_a_dry_run_of_very_many_is_bounded(project, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, dry_run_accounts=20)
    many(project, 50)
    checked = dry_run(project, DRAFT, EVERYONE)
    assert checked.is_partial
    assert checked.total == 50
    assert 0 < checked.checked <= 40


def test_a_retry_reaches_those_left_out_and_nobody_twice(project, small_chunks):
    many(project, 40)
    found = upload(project, "\n".join(accounts_of(90)))
    outcome = broadcast_to(project, DRAFT, Target(recipients=found))
    work()
    notification = Notification.objects.get(pk=outcome.notification_id)
    assert notification.undelivered.count() == 50
    many_later = many_from(project, 40, 75)
    assert retry_failed(notification)
    assert retry_failed(notification) is False
    work()
    assert Delivery.objects.count() == 75
    assert notification.undelivered.count() == 15
    assert len(many_later) == 35
    assert Broadcast.objects.get().sent == 35


def many_from(project, start, end):
    """Further subscribers, with the accounts after those of ``many``."""
    rows = []
    for number, key in enumerate(many(project, end - start)):
        row = Subscriber.objects.get(topic=key.topic)
        row.account = f"eip155:1:0x{number + start:040x}"
        row.account_key = f"eip155:0x{number + start:040x}"
        row.save()
        rows.append(row)
    return rows


def test_a_retry_of_a_call_with_named_accounts(project):
    outcome = notify(project, DRAFT, [*accounts_of(2), "nonsense" * 40])
    notification = Notification.objects.get(pk=outcome.notification_id)
    many(project, 2)
    assert retry_failed(notification)
    assert Delivery.objects.count() == 2
    assert Undelivered.objects.count() == 1
    Undelivered.objects.all().delete()
    with pytest.raises(Invalid, match="no account is left"):
        retry_failed(notification)


def test_a_repeat_that_reaches_an_account_takes_it_off_the_failures(project):
    notify(project, DRAFT, accounts_of(1), notification_id="n")
    assert Undelivered.objects.count() == 1
    many(project, 1)
    notify(project, DRAFT, accounts_of(1), notification_id="n")
    assert not Undelivered.objects.exists()


# --- templates ----------------------------------------------------------------------------

TEMPLATE = NotifyMessage(
    type="alerts",
    title="{{ token }} is up",
    body="{{token}} rose by {{ percent }}.",
    url="https://dapp.example.org/{{ token }}",
)


def test_variables_are_filled_in_once():
    assert variables_of(TEMPLATE) == ["token", "percent"]
    message = render(TEMPLATE, {"token": "{{ percent }}", "percent": "3 %"})
    assert message.body == "{{ percent }} rose by 3 %."


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"token": "LUM"}, "no value for the variable percent"),
        ({"token": " ", "other": "x"}, "no values for the variables token, percent"),
    ],
)
def test_a_missing_variable_is_an_error(values, message):
    with pytest.raises(Invalid, match=message):
        render(TEMPLATE, values)


@pytest.mark.parametrize("text", ["{{ A }}", "{{}}", "{{ a b }}", "a }}", "{{ a"])
def test_braces_that_are_no_variable_are_refused(project, text):
    message = dataclasses.replace(TEMPLATE, body=text)
    with pytest.raises(Invalid, match="write a variable as"):
        save_template(project, "Up", message)


def test_templates_have_names_and_a_limit(project, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, templates_per_project=1)
    row = save_template(project, "Up", TEMPLATE)
    save_template(project, "Down", TEMPLATE, template=row)
    assert project.templates.get().name == "Down"
    with pytest.raises(TooMany, match="at most 1 templates"):
        save_template(project, "Up", TEMPLATE)
    unknown = dataclasses.replace(TEMPLATE, type="nothing")
    with pytest.raises(Invalid, match="offers no type"):
        save_template(project, "Down", unknown, template=row)


def test_lists_of_others_are_not_found(project):
    other, _ = create_project("Other", url="https://other.example")
    found = upload(project, ACCOUNT)
    assert recipients.list_of(other, found.pk) is None
    assert recipients.list_of(project, found.pk) == found
