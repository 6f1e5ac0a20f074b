"""How long every table keeps its rows, in one table, and the deletion of older rows.

Every model has an entry in ``RULES`` (a test walks the models). A table that grows with
traffic is ``Pruned``: a periodic task deletes what is older than its limit. All others
are ``Bounded`` by something that does not grow with traffic.

Rows are deleted in small committed batches, table after table in turns, so that locks are
short and no table waits for the backlog of another. Old rows are found through an index
and never by reading the table: by the primary key where rows are inserted in the order of
their age, which needs no further index, else by an index that begins with their age.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.apps import apps
from django.conf import settings
from django.db.models import BigIntegerField, Count, F, Q

from common import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from django.db.models import Model, QuerySet

BATCH_SIZE: Final = 1_000
# Of one run of a task. A batch that begins at its end is done before the soft time limit of
# tasks (45 s); the next run continues.
BUDGET_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows whose ``column`` lies ``keep`` back are deleted by the periodic ``task``.

    ``keep`` is a limit (``keep_…``) or a time that is part of the design. With ``by_id``
    rows are found in the order of their primary keys, which are ascending in time.
    ``where`` excludes rows that must stay. ``is_own``: the task has a statement of its own.
    """

    task: str
    column: str
    keep: str | timedelta
    by_id: bool = False
    where: Q | None = None
    is_own: bool = False

    @property
    def age(self) -> timedelta | None:
        """How long rows are kept; None: for good."""
        if isinstance(self.keep, timedelta):
            return self.keep
        kept = getattr(settings.LIMITS, self.keep)
        unit = timedelta(hours=1) if self.keep.endswith("_h") else timedelta(days=1)
        return kept * unit if kept else None


@dataclass(frozen=True, slots=True)
class Bounded:
    """The table does not grow with traffic; ``by`` what it is bounded."""

    by: str


Rule: TypeAlias = Pruned | Bounded

_SENT: Final = "keep_sent_notifications_days"
_WITH_ITS_OWNER: Final = Bounded("its owner's rows; deleted with them")
_CODE: Final = Bounded("the code")

RULES: Final[dict[str, Rule]] = {
    # --- Django ---
    "admin.LogEntry": Pruned(
        "accounts.prune", "action_time", "keep_audit_days", by_id=True
    ),
    "auth.Group": Bounded("staff"),
    "auth.Permission": _CODE,
    "contenttypes.ContentType": _CODE,
    "django_celery_beat.ClockedSchedule": _CODE,
    "django_celery_beat.CrontabSchedule": _CODE,
    "django_celery_beat.IntervalSchedule": _CODE,
    "django_celery_beat.PeriodicTask": _CODE,
    "django_celery_beat.PeriodicTasks": _CODE,
    "django_celery_beat.SolarSchedule": _CODE,
    "sessions.Session": Pruned("accounts.prune", "expire_date", timedelta()),
    # --- people ---
    "accounts.User": Bounded("people"),
    "accounts.Account": Bounded("people"),
    "accounts.Device": Bounded("sign-ins; notifications and the audit log name it"),
    "accounts.SignInRequest": Pruned(
        "accounts.prune", "expires_at", timedelta(days=1), where=~Q(used_at=None)
    ),
    "accounts.AccountEvent": Pruned(
        "accounts.prune", "created_at", "keep_account_events_days", by_id=True
    ),
    "accounts.AuditEntry": Pruned(
        "accounts.prune", "at", "keep_audit_days", by_id=True, is_own=True
    ),
    "accounts.AccountTombstone": Bounded("removed accounts, 0.2 kB each"),
    "dashboard.FormSubmission": Pruned(
        "dashboard.prune_submissions", "created_at", timedelta(days=1), is_own=True
    ),
    "dashboard.SavedFilter": Bounded("the limit saved_filters_per_user"),
    "portability.PreparedImport": Pruned(
        "portability.prune", "created_at", timedelta(minutes=10), is_own=True
    ),
    "portability.PreparedImportPart": _WITH_ITS_OWNER,
    # --- secrets ---
    "keychain.SymKeyEntry": _WITH_ITS_OWNER,
    "keychain.KeyPairEntry": _WITH_ITS_OWNER,
    "keychain.SigningKeyEntry": _WITH_ITS_OWNER,
    "keychain.SecretEntry": _WITH_ITS_OWNER,
    # --- the relay and its archive; times in milliseconds, so with statements of its own ---
    "relay.RelayLog": Bounded("one row"),
    "relay.PublishedMessage": Pruned(
        "history.prune_messages",
        "expires_at",
        "keep_archived_notifications_days",
        where=Q(tag=4002),
        is_own=True,
    ),
    "relay.MailboxCursor": Bounded("clients and topics with stored messages"),
    "relay.Acknowledgement": Bounded("stored messages"),
    "relay.ArchivedTag": Bounded("three tags"),
    "history.HistoryRegistration": Pruned(
        "history.prune_messages", "registered_at", "keep_archive_clients_days"
    ),
    # --- our clients of a relay ---
    "messaging.PartyClient": Bounded("topics, one for 5,000"),
    "messaging.TopicSubscription": Bounded("topics; a day longer than they are wanted"),
    "messaging.InboxMessage": Pruned(
        "messaging.prune",
        "received_at",
        "keep_handled_messages_days",
        where=~Q(state="due"),
        is_own=True,
    ),
    "messaging.InboxClaim": Bounded("workers"),
    "messaging.OutboxMessage": Pruned(
        "messaging.prune",
        "created_at",
        "keep_sent_messages_h",
        where=Q(state="sent"),
        is_own=True,
    ),
    "runlog.StepRecord": Pruned(
        "subscriptions.prune_deleted", "at", "keep_protocol_runs_days", by_id=True
    ),
    # --- identities ---
    "identity.IdentityRegistration": Bounded(
        "identity keys; a removed key must not be registered again"
    ),
    "identity.InviteRegistration": Bounded("accounts"),
    "identity.IdentityKey": Bounded("devices and accounts"),
    "identity.IdentityUnregistration": Pruned(
        "identity.prune", "done_at", timedelta(days=7), is_own=True
    ),
    "identity.KnownIdentity": Pruned(
        "identity.prune", "checked_at", timedelta(days=1), is_own=True
    ),
    "identity.ContractProof": Pruned(
        "identity.prune", "checked_at", timedelta(days=30), is_own=True
    ),
    "identity.ContractWallet": Bounded("smart-contract wallets that signed here"),
    # --- Sync ---
    "syncstore.Store": Bounded("accounts, two each"),
    "syncstore.StoreEntry": Bounded("keys of the stores of our accounts"),
    "syncstore.StoreUpdate": Pruned(
        "syncstore.prune_updates",
        "at",
        "keep_sync_updates_days",
        by_id=True,
        is_own=True,
    ),
    "syncstore.DeviceLink": Pruned(
        "syncstore.prune_updates", "expires_at", timedelta(hours=1)
    ),
    "syncstore.DeviceCursor": Bounded("devices and stores"),
    "syncstore.StoreCheck": Bounded("accounts, one each"),
    "preferences.DappPreferences": Bounded("the limit preferences_per_account"),
    "syncstore.ColdStart": Bounded("accounts, one each"),
    # --- the wallet's side ---
    "subscriptions.Icon": Pruned(
        "subscriptions.prune_icons", "wanted_at", timedelta(days=60), is_own=True
    ),
    "subscriptions.DappDocument": Pruned(
        "subscriptions.prune_deleted",
        "checked_at",
        "keep_unused_documents_days",
        is_own=True,
    ),
    "subscriptions.DomainCheck": Pruned(
        "subscriptions.check_domains", "created_at", timedelta(hours=1), is_own=True
    ),
    "subscriptions.SubscribeAttempt": Pruned(
        "subscriptions.prune_deleted",
        "created_at",
        "keep_subscribe_attempts_days",
        where=~Q(state__in=["resolving", "requested"]),
    ),
    "subscriptions.Subscription": Pruned(
        "subscriptions.prune_deleted",
        "deleted_at",
        "keep_ended_subscriptions_days",
        # Its notifications go first, in batches of their own.
        where=Q(messages=None),
    ),
    "subscriptions.SubscriptionJob": Bounded("subscriptions, three each"),
    "subscriptions.NotifyMessageRecord": Pruned(
        "subscriptions.prune_deleted",
        "received_at",
        "keep_notifications_days",
        by_id=True,
    ),
    "subscriptions.BlockedDapp": Bounded("what people block by hand"),
    "subscriptions.WatchedServer": Bounded("the setting CAST_SERVER_URL"),
    "subscriptions.AccountWatch": Bounded("accounts, one each"),
    # --- the dapp's side ---
    "castserver.Project": Bounded("dapps"),
    "castserver.ProjectKeys": Pruned(
        "castserver.prune", "valid_until", timedelta(), is_own=True
    ),
    "castserver.ProjectMember": Bounded("the limit members_per_project"),
    "castserver.ProjectInvitation": Pruned(
        "castserver.prune", "expires_at", timedelta(days=90)
    ),
    "castserver.ProjectSecret": Bounded("the limit secrets_per_project, and used ones"),
    "castserver.NotificationType": Bounded("the limit scopes_per_subscription"),
    "castserver.WelcomeNotification": Bounded("projects, one each"),
    "castserver.IdempotentCall": Pruned(
        "castserver.prune", "created_at", timedelta(hours=24), is_own=True
    ),
    "castserver.ServerKeys": Bounded("one row"),
    "castserver.Subscriber": Pruned(
        "castserver.prune",
        "deleted_at",
        "keep_ended_subscribers_days",
        where=Q(keys_forgotten=True, deliveries=None),
    ),
    "castserver.Answer": Pruned("castserver.prune", "created_at", "keep_answers_days"),
    "castserver.Watcher": Pruned(
        "castserver.prune", "expires_at", timedelta(), is_own=True
    ),
    "castserver.ChangedSubscriptions": Pruned(
        "castserver.prune", "due_at", "keep_answers_days"
    ),
    # Deliveries and what was not delivered first, their notification when none is left.
    "castserver.Delivery": Pruned("castserver.prune", "created_at", _SENT, by_id=True),
    "castserver.Undelivered": Pruned(
        "castserver.prune", "notification__created_at", _SENT, by_id=True
    ),
    "castserver.Notification": Pruned(
        "castserver.prune",
        "created_at",
        _SENT,
        where=Q(deliveries=None, undelivered=None)
        # It may be scheduled further ahead than sent ones are kept.
        & (Q(broadcast=None) | Q(broadcast__finished_at__isnull=False)),
    ),
    "castserver.ProjectCount": Bounded("projects and days, 0.1 kB each"),
    "castserver.SubscriberCount": Pruned(
        "castserver.prune", "day", timedelta(days=400)
    ),
    "castserver.Broadcast": _WITH_ITS_OWNER,
    "castserver.RecipientList": Pruned(
        "castserver.prune", "created_at", timedelta(days=30), is_own=True
    ),
    "castserver.Recipient": _WITH_ITS_OWNER,
    "castserver.MessageTemplate": Bounded("the limit templates_per_project"),
    "castserver.AddressCheck": Bounded("dapps, one each"),
    "castserver.DueDeliveries": Bounded("what is being sent; deleted once it is"),
    "castserver.Webhook": Bounded("the limit webhooks_per_project"),
    "castserver.WebhookDelivery": Pruned(
        "castserver.prune",
        "created_at",
        "keep_webhook_log_days",
        where=~Q(state="due"),
    ),
    "castserver.WebhookAttempt": _WITH_ITS_OWNER,
    # --- alerts ---
    "alerts.AlertSettings": Bounded("people"),
    "alerts.Mute": Bounded("the limit mutes_per_account"),
    "alerts.PushSubscription": Bounded("devices, one each"),
    "alerts.PushDelivery": Pruned(
        "alerts.prune", "created_at", "keep_pushes_days", where=~Q(state="due")
    ),
    "alerts.Forward": Bounded("the limit forwards_per_user"),
    "alerts.ForwardDelivery": Bounded("notifications that wait for their service"),
    "alerts.Digest": Bounded("people"),
}


def rule_of(model: type[Model]) -> Rule | None:
    return RULES.get(model._meta.label)


def cutoff(keep: str | timedelta) -> datetime | None:
    """The time before which rows are deleted; None: they are kept for good."""
    age = Pruned("", "", keep).age
    return None if age is None else clock.now() - age


def expired(model: type[Model], rule: Pruned, *, limit: int) -> int | None:
    """How many rows the next run will delete, counted up to ``limit`` by an index.

    None where rows are kept for good, or only the task's own statement finds them.
    """
    before = cutoff(rule.keep)
    if before is None:
        return None
    rows: QuerySet[Any] = model._default_manager.order_by()
    if rule.by_id:
        oldest = rows.order_by("pk").values("pk", age=F(rule.column))[:limit]
        return int(oldest.aggregate(old=Count("pk", filter=Q(age__lte=before)))["old"])
    if not is_indexed(model, rule.column):
        return None
    column = model._meta.get_field(rule.column)
    # The relay counts milliseconds.
    in_ms = isinstance(column, BigIntegerField)
    old = rows.filter(
        **{f"{rule.column}__lte": before.timestamp() * 1000 if in_ms else before}
    )
    if rule.where is not None:
        old = old.filter(rule.where)
    return int(old[:limit].count())


def is_indexed(model: type[Model], column: str) -> bool:
    """Whether rows can be found by ``column`` without reading the table."""
    field = model._meta.get_field(column)
    return bool(getattr(field, "db_index", False)) or any(
        index.fields[:1] == [column] for index in model._meta.indexes
    )


# --- deleting -----------------------------------------------------------------------------


def prune_tables(task: str, *also: Callable[[], int]) -> int:
    """Delete what is older than the rules of ``task`` allow; returns how many rows.

    ``also`` are batches of the task's own: each call deletes one, and returns its size or 0.
    """
    batches = [
        _batches(apps.get_model(label), rule)
        for label, rule in RULES.items()
        if isinstance(rule, Pruned) and rule.task == task and not rule.is_own
    ]
    return in_turns([*batches, *map(_repeated, also)])


def in_turns(batches: Iterable[Iterator[int]], *, budget_s: float = BUDGET_S) -> int:
    """One batch of each in turns, until all are done or the time is over."""
    until = clock.monotonic() + budget_s
    waiting = list(batches)
    total = 0
    while waiting and clock.monotonic() < until:
        turn = waiting.pop(0)
        count = next(turn, None)
        if count is not None:
            total += count
            waiting.append(turn)
    return total


def _repeated(batch: Callable[[], int]) -> Iterator[int]:
    while count := batch():
        yield count


def _batches(model: type[Model], rule: Pruned) -> Iterator[int]:
    before = cutoff(rule.keep)
    if before is None:
        return
    # Positions instead of offsets: rows that stay are looked at once per run.
    order = ("pk",) if rule.by_id else (rule.column, "pk")
    rows: QuerySet[Any] = model._default_manager.order_by(*order)
    if not rule.by_id:
        rows = rows.filter(**{f"{rule.column}__lte": before})
    after: tuple[Any, Any] | None = None
    while True:
        window = rows
        if after is not None:
            pk, at = after
            window = (
                window.filter(pk__gt=pk)
                if rule.by_id
                else window.filter(
                    Q(**{f"{rule.column}__gt": at})
                    | Q(**{rule.column: at, "pk__gt": pk}),
                    **{f"{rule.column}__gte": at},
                )
            )
        found = list(window.values_list("pk", rule.column)[:BATCH_SIZE])
        old = [pk for pk, at in found if at <= before]
        if not old:
            return
        chosen = model._default_manager.filter(pk__in=old)
        if rule.where is not None:
            chosen = model._default_manager.filter(
                pk__in=list(chosen.filter(rule.where).values_list("pk", flat=True))
            )
        yield chosen.delete()[0]
        if len(found) < BATCH_SIZE:
            return
        after = found[-1]
