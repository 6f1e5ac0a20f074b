"""Every table has a rule how long its rows are kept, and every rule works."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection, transaction

from accounts.models import AccountEvent, AuditEntry
from accounts.services import prune as prune_accounts
from common import clock, retention
from common.limits import Limits, configured_limits
from common.retention import RULES, Pruned
from notifyweb.operations.storage import table_sizes
from notifyweb.schedule import PERIODIC
from notifyweb.task_queues import ROUTES
from runlog.models import StepRecord
from subscriptions.services import prune_deleted
from tests.people import ALICE, sign_in

PRUNED = {label: rule for label, rule in RULES.items() if isinstance(rule, Pruned)}


@pytest.fixture
def limits(settings):
    def change(text):
        settings.LIMITS = configured_limits(text, demo=False, strict_spam_rule=False)

    return change


@pytest.fixture
def alice(db):
    return sign_in(ALICE)


def later(days):
    return clock.frozen(clock.now() + timedelta(days=days))


def plan_of(statement, parameters):
    with connection.cursor() as cursor:
        # Small tables are read as a whole otherwise, because that is cheaper.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statement}", parameters)
        return "\n".join(line for (line,) in cursor.fetchall())


# --- the table of rules -----------------------------------------------------------------


def test_every_table_has_a_rule_and_every_rule_a_table():
    assert set(RULES) == {model._meta.label for model in apps.get_models()}


@pytest.mark.parametrize(("label", "rule"), PRUNED.items(), ids=list(PRUNED))
def test_rules_name_a_periodic_task_a_column_and_a_limit(label, rule):
    assert rule.task in {entry.task for entry in PERIODIC}
    assert rule.task in ROUTES
    model = apps.get_model(label)
    assert model.objects.filter(**{f"{rule.column}__isnull": False}).query
    if isinstance(rule.keep, str):
        assert rule.keep in Limits.__dataclass_fields__
    if rule.by_id:
        assert not rule.column.startswith("-")


def test_every_age_in_the_limits_is_used_by_a_rule():
    used = {rule.keep for rule in PRUNED.values()}
    ages = {name for name in Limits.__dataclass_fields__ if name.startswith("keep_")}
    # Of the archive by the statement of its own task; see ``history.services``.
    assert ages - used == {"keep_archived_sync_days"}


def test_old_rows_are_found_by_an_index():
    without = [
        label
        for label, rule in PRUNED.items()
        if not (rule.is_own or rule.by_id)
        and not retention.is_indexed(apps.get_model(label), rule.column)
    ]
    assert without == []


@pytest.mark.django_db
@pytest.mark.parametrize(("label", "rule"), PRUNED.items(), ids=list(PRUNED))
def test_every_rule_runs_on_an_empty_table(label, rule):
    model = apps.get_model(label)
    assert retention.expired(model, rule, limit=10) in {0, None}
    if not rule.is_own:
        assert retention.prune_tables(rule.task) >= 0


# --- settings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "keep_handled_messages_days=30",
        "keep_answers_days=1",
        "keep_audit_days=7",
        "keep_notifications_days=40",
        "keep_archived_notifications_days=0,keep_notifications_days=400",
        "keep_account_events_days=-1",
        "keep_account_events_days=soon",
    ],
)
def test_times_that_would_break_a_promise_are_refused(text):
    with pytest.raises(ValueError, match="keep_"):
        configured_limits(text, demo=False, strict_spam_rule=False)


def test_zero_keeps_rows_for_good(limits):
    limits("keep_handled_messages_days=0")
    assert retention.cutoff("keep_handled_messages_days") is None
    assert retention.cutoff("keep_sent_messages_h") is not None


def test_every_age_is_documented_with_its_default():
    page = (settings.BASE_DIR / "docs" / "settings.md").read_text(encoding="utf-8")
    for name, field in Limits.__dataclass_fields__.items():
        if name.startswith("keep_"):
            assert f"| `{name}` | {field.default} |" in page


# --- deleting ---------------------------------------------------------------------------


@pytest.mark.django_db
def test_old_events_are_deleted_in_batches_of_their_age(alice, limits, monkeypatch):
    monkeypatch.setattr(retention, "BATCH_SIZE", 3)
    limits("keep_account_events_days=5")
    AccountEvent.objects.all().delete()
    AccountEvent.objects.bulk_create(
        AccountEvent(
            user=alice.user,
            sequence=1_000 + number,
            kind="notify.message",
            subject="x",
            created_at=clock.now() - timedelta(days=20 - number),
        )
        for number in range(20)
    )
    prune_accounts()
    kept = AccountEvent.objects.values_list("sequence", flat=True).order_by("id")
    assert list(kept) == [1_016, 1_017, 1_018, 1_019]
    limits("keep_account_events_days=0")
    with later(5_000):
        prune_accounts()
    assert AccountEvent.objects.count() == 4


@pytest.mark.django_db
def test_tables_are_pruned_in_turns(monkeypatch):
    """The backlog of one table does not make another one wait."""
    turns = []

    def table(name, batches):
        for _ in range(batches):
            turns.append(name)
            yield 10

    assert retention.in_turns([table("large", 4), table("small", 1)]) == 50
    assert turns == ["large", "small", "large", "large", "large"]


@pytest.mark.django_db
def test_a_run_ends_with_its_time_and_the_next_one_continues(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])

    def endless():
        while True:
            now[0] += 10
            yield 1

    assert retention.in_turns([endless()], budget_s=45) == 5


@pytest.mark.django_db
def test_steps_of_old_runs_are_deleted():
    for step, days in ((1, 100), (2, 80)):
        StepRecord.objects.create(
            run="ab" * 32, step=step, actor="W1", at=clock.now() - timedelta(days=days)
        )
    prune_deleted()
    assert [record.step for record in StepRecord.objects.all()] == [2]


@pytest.mark.django_db
def test_expired_sessions_are_deleted():
    for key, days in (("over", -1), ("valid", 1)):
        Session.objects.create(
            session_key=key,
            session_data="",
            expire_date=clock.now() + timedelta(days=days),
        )
    prune_accounts()
    assert [session.pk for session in Session.objects.all()] == ["valid"]


# --- the audit log ----------------------------------------------------------------------


@pytest.fixture
def audited(db):
    AuditEntry.objects.bulk_create(
        AuditEntry(at=clock.now() - timedelta(days=days), action=f"{days}")
        for days in (400, 60, 1)
    )


def actions():
    return list(AuditEntry.objects.order_by("id").values_list("action", flat=True))


def test_audit_entries_are_kept_for_good_by_default(audited):
    prune_accounts()
    assert actions() == ["400", "60", "1"]


def test_audit_entries_are_deleted_after_the_time_that_is_set(audited, limits):
    limits("keep_audit_days=90")
    prune_accounts()
    assert actions() == ["60", "1"]


@pytest.mark.parametrize(
    ("declares", "action"), [("off", "400"), ("on", "1")], ids=["stray", "recent"]
)
def test_the_database_refuses_other_deletions_of_audit_entries(
    audited, declares, action
):
    def delete():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL notifyweb.prunes_audit = '{declares}'")
            cursor.execute(
                "DELETE FROM accounts_auditentry WHERE action = %s", [action]
            )

    with pytest.raises(DatabaseError, match="append-only"):
        delete()
    assert actions() == ["400", "60", "1"]


# --- /ops -------------------------------------------------------------------------------


@pytest.mark.django_db
def test_storage_shows_the_rule_of_every_table(alice):
    AccountEvent.objects.update(created_at=clock.now() - timedelta(days=31))
    found = {table.name: table for table in table_sizes()}
    for model in apps.get_models():
        table = found[model._meta.db_table]
        shown = (bool(table.bounded_by), table.is_for_good, table.kept_for is not None)
        assert sum(shown) == 1, table
    events = found[AccountEvent._meta.db_table]
    assert events.expired == AccountEvent.objects.count()
    assert events.freed > 0


@pytest.mark.django_db
def test_pruning_relay_and_inbox_uses_indexes():
    from history import services as history
    from messaging import services as messaging

    for statement, _ in messaging._PRUNE:
        plan = plan_of(statement, [clock.now(), 10])
        assert "Seq Scan" not in plan.replace("Seq Scan on pg_", ""), plan
    for statement in (history._PRUNE_OTHERS, history._PRUNE_TAG):
        plan = plan_of(statement, {"tag": 5000, "before": 0, "limit": 10})
        assert "by_expiry" in plan, plan
