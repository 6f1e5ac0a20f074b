"""``/ops``: for staff only; queues, dead letters, jobs, storage and audit as they are."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.http import urlencode
from django.utils.translation import gettext
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from accounts.models import AuditEntry
from alerts.models import Forward, ForwardDelivery
from castserver.models import Webhook, WebhookDelivery
from castserver.services.projects.projects import create_project
from common import clock, task_runs
from common.connections import shared_redis
from common.work_queue import WorkItem
from messaging.models import InboxMessage, OutboxMessage, Party
from notifyweb import celery as tasks
from notifyweb import health, schedule
from notifyweb.operations import queues, replays, storage, urls, views
from subscriptions.models import DomainCheck
from tests.dashboard.conftest import (  # noqa: F401  # fixtures
    alice,
    charlie,
    open_keychain,
    stranger,
    text_of,
)

PAGES = [
    "/ops",
    "/ops/failed",
    "/ops/replay",
    "/ops/jobs",
    "/ops/storage",
    "/ops/audit",
    "/ops/doctor",
]
NOT_REACHED = "host does not answer"


@pytest.fixture
def operator(alice):  # noqa: F811
    alice.user.is_staff = True
    alice.user.save()
    return alice


@pytest.fixture
def job(db):
    every, _ = IntervalSchedule.objects.get_or_create(every=60, period="seconds")
    return PeriodicTask.objects.create(
        name="messaging.sweep", task="messaging.sweep", interval=every
    )


def forwards(user, count, *, reason=NOT_REACHED, due=None):
    forward, _ = Forward.objects.get_or_create(
        user=user, kind="ntfy", url="https://ntfy.example/x", created_at=clock.now()
    )
    return ForwardDelivery.objects.bulk_create(
        ForwardDelivery(
            forward=forward,
            created_at=clock.now(),
            next_attempt_at=due,
            attempts=9,
            reason=reason,
        )
        for _ in range(count)
    )


def outbox(state="failed", **fields):
    return OutboxMessage.objects.create(
        party=Party.WALLET,
        topic="a" * 64,
        message_id=str(OutboxMessage.objects.count()),
        message="x",
        tag=4002,
        ttl=60,
        state=state,
        next_attempt_at=clock.now(),
        created_at=clock.now(),
        **fields,
    )


# --- who may see it ---------------------------------------------------------------------


def test_every_page_is_for_staff_only(operator, charlie, stranger, job):  # noqa: F811
    for pattern in urls.urlpatterns:
        assert pattern.callback.access_rule == "staff"
        given = {"pk": job.pk, "act": "drop"}
        names = pattern.pattern.converters
        path = reverse(
            f"operations:{pattern.name}", kwargs={n: given[n] for n in names}
        )
        assert stranger.get(path).status_code == 302
        assert charlie.get(path).status_code == 404
        charlie.get("/settings")
        assert charlie.post(path).status_code == 404
    for path in PAGES:
        assert operator.get(path).status_code == 200, path


def test_the_account_menu_leads_there(operator, charlie):  # noqa: F811
    assert 'href="/ops"' in operator.get("/settings").text
    assert 'href="/ops"' not in charlie.get("/settings").text


# --- queues -----------------------------------------------------------------------------


def test_every_work_item_model_is_a_queue_in_the_page(operator):
    concrete = {m for m in apps.get_models() if issubclass(m, WorkItem)}
    listed = {queue.model for queue in queues.queues()}
    assert listed == concrete | {InboxMessage, OutboxMessage}
    page = text_of(operator.get("/ops"))
    for model in listed:
        assert str(model._meta.verbose_name_plural) in page


def test_depth_and_age_of_the_oldest_due_row(operator):
    now = clock.now()
    forwards(operator.user, 2, due=now - timedelta(minutes=5), reason="")
    forwards(operator.user, 1, due=now + timedelta(minutes=5))
    forwards(operator.user, 3)
    depth = queues.depth(queues.queue_named("alerts.ForwardDelivery"))
    assert (depth.due, depth.waiting, depth.working, depth.dead) == (2, 1, 0, 3)
    assert 299 < depth.oldest_age_s < 330


def test_counts_end_at_a_bound(operator, monkeypatch):
    monkeypatch.setattr(queues, "MAX_COUNTED", 3)
    forwards(operator.user, 5)
    queue = queues.queue_named("alerts.ForwardDelivery")
    assert queues.bounded(queues.depth(queue).dead) == "3+"
    (letters,) = queues.dead_letters()
    assert letters.groups[0].count == 4
    assert not letters.is_complete


@pytest.mark.parametrize(
    "path",
    [
        "/ops",
        "/ops/failed",
        "/ops/storage",
        "/ops/audit",
        "/ops/replay?what=castserver.WebhookDelivery:delivered"
        "&since=2026-01-01T00:00&until=2026-01-02T00:00",
        "/ops/replay?what=messaging.InboxMessage:refused"
        "&since=2026-01-01T00:00&until=2026-01-02T00:00",
    ],
)
def test_no_page_reads_a_whole_table(operator, path):
    """Where an index could serve, PostgreSQL finds one for every statement."""
    with CaptureQueriesContext(connection) as queries:
        operator.get(path)
    scanned = []
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query in queries:
            sql = query["sql"]
            if not sql.startswith("SELECT") or "pg_class" in sql:
                continue
            cursor.execute("EXPLAIN " + sql)
            plan = "\n".join(row[0] for row in cursor.fetchall())
            tables = ("delivery", "message", "attempt", "check", "audit", "update")
            scanned += [
                line
                for line in plan.splitlines()
                if "Seq Scan" in line and any(name in line for name in tables)
            ]
    assert scanned == []


MANY = """
    INSERT INTO messaging_outboxmessage
        (party, topic, message_id, message, tag, ttl, prompt, state, attempts,
         next_attempt_at, reason, created_at)
    SELECT (ARRAY['cast', 'wallet'])[1 + n %% 2], encode(sha256(n::text::bytea), 'hex'),
        n::text, '', 1, 60, false, %s, 0, moment, '', moment
    FROM generate_series(1, %s) AS n,
        LATERAL (SELECT now() + (n - 30000) * interval '1 second' AS moment) AS at
"""


def plan_of(statement):
    """What PostgreSQL really did: the nodes of the plan that read the outbox."""

    def nodes(plan):
        yield plan
        for each in plan.get("Plans", ()):
            yield from nodes(each)

    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement)
        (found,) = cursor.fetchone()
    return [
        node
        for node in nodes(found[0]["Plan"])
        if node.get("Relation Name") == "messaging_outboxmessage"
    ]


def test_the_oldest_row_of_the_outbox_is_found_by_its_index(db):
    """However many messages were sent before it, and however many are due."""
    with connection.cursor() as cursor:
        cursor.execute(MANY, ["sent", 25_000])
        # The statistics are of a long queue.
        cursor.execute(MANY, ["due", 25_000])
        cursor.execute("ANALYZE messaging_outboxmessage")
    oldest = OutboxMessage.objects.filter(state="due").earliest("created_at")
    with CaptureQueriesContext(connection) as queries:
        found = queues.queue_named("messaging.OutboxMessage").oldest()
    assert found == oldest.created_at
    (query,) = queries
    read = plan_of(query["sql"])
    assert {node["Index Name"] for node in read} == {"outbox_message_due_of_shard"}
    # One step for each party and shard, ten thousand rows, and nothing is thrown away.
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in read) <= 18_192
    assert sum(node.get("Rows Removed by Filter", 0) for node in read) == 0
    # The same for the probe of /readyz, and for an empty queue.
    OutboxMessage.objects.filter(state="due").exclude(pk=oldest.pk).delete()
    for statement in (health.OLDEST_UNTRIED["outbox"], query["sql"]):
        read = plan_of(statement)
        assert {node["Index Name"] for node in read} == {"outbox_message_due_of_shard"}
        assert sum(node.get("Rows Removed by Filter", 0) for node in read) == 0
        with connection.cursor() as cursor:
            cursor.execute(statement)
            assert cursor.fetchone() == (oldest.created_at,)
    OutboxMessage.objects.filter(state="due").delete()
    assert queues.queue_named("messaging.OutboxMessage").oldest() is None


def test_after_a_long_queue_no_table_is_read(operator):
    """Statistics that are out of date must not make a page read all that was sent."""
    with connection.cursor() as cursor:
        cursor.execute(MANY, ["sent", 5_000])
        cursor.execute(MANY, ["due", 20_000])
        cursor.execute("ANALYZE messaging_outboxmessage")
    OutboxMessage.objects.filter(state="due").delete()
    with CaptureQueriesContext(connection) as queries:
        queues.depths()
    statements = [
        query["sql"]
        for query in queries
        if query["sql"].startswith(("SELECT", "\nWITH"))
        and "messaging_outboxmessage" in query["sql"]
    ]
    assert len(statements) == 3
    # As ``depths`` sets it, in the transaction of this test.
    for statement in statements:
        assert "Seq Scan" not in {node["Node Type"] for node in plan_of(statement)}


# --- replays ----------------------------------------------------------------------------


def window(minutes_from, minutes_until, what):
    def text(minutes):
        moment = timezone.localtime(clock.now() + timedelta(minutes=minutes))
        return f"{moment:%Y-%m-%dT%H:%M}"

    return {"what": what, "since": text(minutes_from), "until": text(minutes_until)}


def test_every_queue_can_be_replayed_or_has_no_date():
    """A new queue is put into the table, or here."""
    undated = {
        "alerts.Digest",
        "identity.ContractProof",
        "identity.KnownIdentity",
        "subscriptions.SubscriptionJob",
    }
    retried = {queue.name for queue in queues.queues() if queue.can_retry}
    assert retried == set(replays.DATED_BY) | undated
    for each in replays.replays():
        assert each.count(clock.now(), clock.now()) == 0


def test_failed_work_of_a_time_range_is_replayed(operator):
    inside, outside = forwards(operator.user, 2)
    ForwardDelivery.objects.filter(pk=inside.pk).update(
        created_at=clock.now() - timedelta(minutes=30)
    )
    ForwardDelivery.objects.filter(pk=outside.pk).update(
        created_at=clock.now() - timedelta(minutes=90)
    )
    given = window(-60, 0, "alerts.ForwardDelivery:failed")
    asked = text_of(operator.get(f"/ops/replay?{urlencode(given)}"))
    assert "1 row becomes due again" in asked
    assert ForwardDelivery.objects.due().count() == 0
    done = operator.follow(operator.post("/ops/replay", **given))
    assert "1 row is due again" in text_of(done)
    assert [row.pk for row in ForwardDelivery.objects.due()] == [inside.pk]
    entry = AuditEntry.objects.get(action="queue.replay")
    assert entry.actor == operator.user.username
    assert entry.detail.startswith("1 rows of ")
    again = operator.post("/ops/replay", **given)
    assert again.status_code == 422
    assert "no such row" in text_of(again)


def test_refused_messages_and_sent_webhook_events_are_replayed(operator):
    now = clock.now()
    refused, emptied = (
        InboxMessage.objects.create(
            party=Party.WALLET,
            topic="b" * 64,
            message_id=message or "none",
            message=message,
            tag=4002,
            published_at=1,
            received_at=now - timedelta(minutes=5),
            next_attempt_at=now,
            state=InboxMessage.State.REFUSED,
            reason="no key",
        )
        for message in ("envelope", "")
    )
    project, _ = create_project("Acme", url="https://acme.example", types=[])
    on, paused = (
        Webhook.objects.create(
            project=project,
            url="https://acme.example/hook",
            events=["subscribed"],
            created_at=now,
            disabled_at=at,
        )
        for at in (None, now)
    )
    for webhook in (on, paused):
        WebhookDelivery.objects.create(
            webhook=webhook,
            event="subscribed",
            body="{}",
            state="delivered",
            next_attempt_at=None,
            created_at=now - timedelta(minutes=5),
        )
    operator.get("/ops/replay")
    for what in (
        "messaging.InboxMessage:refused",
        "castserver.WebhookDelivery:delivered",
    ):
        operator.post("/ops/replay", **window(-60, 1, what))
    refused.refresh_from_db()
    emptied.refresh_from_db()
    assert (refused.state, emptied.state) == ("due", "refused")
    assert [row.webhook_id for row in WebhookDelivery.objects.due()] == [on.pk]
    assert WebhookDelivery.objects.get(webhook=on).state == "due"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"what": "accounts.User:failed"}, "Select a valid choice"),
        ({"what": ""}, "This field is required"),
        ({"since": "yesterday"}, "Enter a valid date/time"),
        ({"until": "0001-01-01T00:00"}, "ends before it begins"),
        ({"since": "2019-01-01T00:00", "until": "2019-01-02T00:00"}, "no such row"),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_wrong_range_replays_nothing(operator, change, problem, method):
    forwards(operator.user, 1)
    operator.get("/ops/replay")
    given = window(-60, 1, "alerts.ForwardDelivery:failed") | change
    if method == "get":
        answer = operator.get(f"/ops/replay?{urlencode(given)}")
    else:
        answer = operator.post("/ops/replay", **given)
    assert answer.status_code == 422
    assert problem in text_of(answer)
    assert ForwardDelivery.objects.due().count() == 0
    assert not AuditEntry.objects.filter(action="queue.replay").exists()


def test_a_range_of_too_many_rows_replays_none(operator, monkeypatch):
    monkeypatch.setattr(queues, "MAX_CHANGED", 2)
    monkeypatch.setattr(replays, "MAX_CHANGED", 2)
    forwards(operator.user, 3)
    operator.get("/ops/replay")
    given = window(-60, 1, "alerts.ForwardDelivery:failed")
    answer = operator.post("/ops/replay", **given)
    assert answer.status_code == 422
    assert "more than 2 rows" in text_of(answer)
    with pytest.raises(replays.TooManyRows):
        replays.replay(
            next(r for r in replays.replays() if r.name == given["what"]),
            clock.now() - timedelta(hours=1),
            clock.now(),
            actor=operator.user,
            device=operator.device,
        )
    assert ForwardDelivery.objects.due().count() == 0


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/ops/failed/retry", {"reason": "a\0b"}),
        ("/ops/failed/retry", {"pk": "1\0"}),
        ("/ops/failed/retry", {"pk": "9" * 40}),
        ("/ops/failed/retry", {"queue": "\0"}),
        ("/ops/replay", {"what": "\0", "since": "\0", "until": "\0"}),
    ],
)
def test_null_characters_and_large_numbers_change_nothing(operator, path, fields):
    forwards(operator.user, 1)
    operator.get("/ops/failed")
    given = {"queue": "alerts.ForwardDelivery", "reason": NOT_REACHED} | fields
    assert operator.post(path, **given).status_code in {302, 404, 422}
    quoted = urlencode(given)
    assert operator.get(f"/ops/failed/drop?{quoted}").status_code in {400, 404, 200}
    assert operator.get(f"/ops/audit?before={'9' * 40}").status_code == 200
    assert ForwardDelivery.objects.due().count() == 0


# --- dead letters -----------------------------------------------------------------------


def act(person, name, queue="alerts.ForwardDelivery", reason=NOT_REACHED, **fields):
    person.get("/ops/failed")
    return person.post(f"/ops/failed/{name}", queue=queue, reason=reason, **fields)


def test_failed_rows_are_grouped_and_retried_one_by_one_or_all(operator):
    first, *_ = forwards(operator.user, 3)
    forwards(operator.user, 1, reason="refused")
    (letters,) = queues.dead_letters()
    assert [(g.reason, g.count) for g in letters.groups] == [
        (NOT_REACHED, 3),
        ("refused", 1),
    ]
    act(operator, "retry", pk=str(first.pk))
    first.refresh_from_db()
    assert first.next_attempt_at is not None
    assert (first.attempts, first.reason) == (0, "")
    assert ForwardDelivery.objects.due().count() == 1
    act(operator, "retry")
    assert ForwardDelivery.objects.due().count() == 3
    entries = AuditEntry.objects.filter(action="queue.retry")
    assert [entry.actor for entry in entries] == [operator.user.username] * 2
    assert NOT_REACHED in entries[0].detail


def test_dropping_explains_itself_and_is_audited(operator):
    forwards(operator.user, 2)
    asked = operator.get(
        f"/ops/failed/drop?queue=alerts.ForwardDelivery&reason={NOT_REACHED}"
    )
    assert "audit log" in text_of(asked)
    assert queues.dead_letters()
    act(operator, "drop")
    assert queues.dead_letters() == []
    assert ForwardDelivery.objects.due().count() == 0
    assert AuditEntry.objects.get(action="queue.drop").detail.startswith("2 rows")


def test_a_second_press_changes_nothing(operator):
    forwards(operator.user, 1)
    act(operator, "retry")
    page = operator.follow(act(operator, "retry"))
    assert "Nothing changed" in text_of(page)
    assert AuditEntry.objects.filter(action="queue.retry").count() == 1


def test_relay_messages_are_retried_and_dropped(operator):
    first, second = outbox(reason="too large"), outbox(reason="too large")
    act(operator, "retry", "messaging.OutboxMessage", "too large", pk=str(first.pk))
    first.refresh_from_db()
    assert first.state == OutboxMessage.State.DUE
    act(operator, "drop", "messaging.OutboxMessage", "too large")
    assert not OutboxMessage.objects.filter(pk=second.pk).exists()
    assert OutboxMessage.objects.filter(pk=first.pk).exists()


def test_work_that_its_owner_starts_anew_is_not_a_dead_letter(operator):
    DomainCheck.objects.create(
        user=operator.user, url="https://a.example", reason="x", created_at=clock.now()
    )
    assert queues.dead_letters() == []
    assert act(operator, "retry", "subscriptions.DomainCheck", "x").status_code == 404


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("retry", {"queue": "accounts.User"}),
        ("retry", {"queue": ""}),
        ("delete", {}),
        ("retry", {"pk": "x"}),
    ],
)
def test_an_unknown_queue_row_or_act_is_not_found(operator, name, fields):
    forwards(operator.user, 1)
    assert act(operator, name, **fields).status_code == 404


# --- jobs -------------------------------------------------------------------------------


def test_a_job_shows_its_last_run_and_error(operator, job):
    name = "messaging.sweep"
    task_runs.record_run(name, 1234, "ValueError: broken")
    page = text_of(operator.get("/ops/jobs"))
    assert name in page
    assert "ValueError: broken" in page
    runs = task_runs.task_runs([name])[name]
    assert (runs.runs, runs.failures, runs.milliseconds) == (1, 1, 1234)


def test_workers_record_runs_and_mask_secrets(redis_client, settings):
    class Task:
        name = "some.task"

    failure = ValueError(f"key {settings.SECRET_KEY}")
    tasks.allow_next_wake_up("id-1", Task, ())
    tasks.record_run("id-1", Task, failure, "FAILURE")
    tasks.allow_next_wake_up("id-2", Task, ())
    tasks.record_run("id-2", Task, None, "SUCCESS")
    runs = task_runs.task_runs(["some.task"])["some.task"]
    assert (runs.runs, runs.failures) == (2, 1)
    assert settings.SECRET_KEY not in runs.error
    assert runs.error.startswith("ValueError")
    assert tasks._started_at == {}


def test_run_now_queues_the_task_once(operator, job):
    operator.get("/ops/jobs")
    for _ in range(2):
        answer = operator.post(f"/ops/jobs/{job.pk}/run")
        assert answer.status_code == 302
    assert shared_redis().exists("wake-up:messaging.sweep")
    assert (
        shared_redis().llen("celery:sweeps") + shared_redis().llen("celery:messages")
        == 1
    )
    assert AuditEntry.objects.filter(action="job.run-now").count() == 2


# --- storage and audit ------------------------------------------------------------------


def test_storage_lists_every_table_with_its_size(operator):
    found = {table.name: table for table in storage.table_sizes()}
    ours = {model._meta.db_table for model in apps.get_models()}
    assert ours <= set(found)
    assert all(table.size >= 0 for table in found.values())


def test_storage_counts_what_retention_will_free(operator):
    outbox("sent")
    OutboxMessage.objects.update(created_at=clock.now() - timedelta(days=40))
    table = next(
        t for t in storage.table_sizes() if t.name == OutboxMessage._meta.db_table
    )
    assert table.expired == 1
    assert table.freed > 0


def test_the_audit_log_is_paged(operator, monkeypatch):
    monkeypatch.setattr(views, "AUDIT_PAGE", 2)
    first = operator.get("/ops/audit")
    assert "?before=" in first.text
    last = AuditEntry.objects.order_by("-id")[1].pk
    assert operator.get(f"/ops/audit?before={last}").status_code == 200
    assert operator.get("/ops/audit?before=-1x").status_code == 200


def test_the_doctor_page_has_the_findings_of_the_command(operator):
    page = text_of(operator.get("/ops/doctor"))
    for name in ("KEYCHAIN_KEYS", "redis policy", "clock", "proxy headers"):
        assert name in page


# --- languages --------------------------------------------------------------------------


def test_findings_queues_and_jobs_are_in_the_readers_language(operator, job):
    job.description = next(
        each.what for each in schedule.PERIODIC if each.task == job.task
    )
    job.save()
    for path, english, german in (
        ("/ops", "outbox messages", "Nachrichten im Ausgang"),
        ("/ops", "no heartbeat yet", "noch kein Lebenszeichen"),
        ("/ops/doctor", "a crash loses messages", "ein Absturz verliert Nachrichten"),
        ("/ops/doctor", "found something", "haben etwas gefunden"),
        ("/ops/jobs", job.description, "deren Weckruf verloren ging"),
        ("/ops/replay", "Push deliveries: failed", "Pushs: fehlgeschlagen"),
    ):
        assert english in operator.get(path).text, path
        page = operator.get(path, **{"Accept-Language": "de"}).text
        assert german in page, path
        assert english not in page, path


def test_probes_are_english_whatever_is_asked_for(operator):
    states = operator.get("/readyz", **{"Accept-Language": "de"}).json()["components"]
    assert states["postgres"]["state"] == "answers"


def test_every_queue_and_job_has_a_german_name():
    labels = {str(queue.model._meta.verbose_name_plural) for queue in queues.queues()}
    assert labels == set(queues.QUEUE_NAMES)
    with translation.override("de"):
        for text in (*labels, *(each.what for each in schedule.PERIODIC)):
            assert gettext(text) != text
