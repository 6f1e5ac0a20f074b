"""Every work queue: how much is due, how old it is, what failed, and what to do with it.

The queues are the subclasses of ``WorkItem``, and the inbox and outbox of the relay
clients. Counts end at ``MAX_COUNTED`` and use partial indexes, so that a page costs the
same on a large database.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django.db import connection, transaction
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from accounts.services import audit
from common import clock
from common.work_queue import WorkItem, fresh_work
from messaging import services as messaging
from messaging.models import InboxMessage, OutboxMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from django.db.models import Model, QuerySet

    from accounts.models import Device, User

MAX_COUNTED: Final = 10_000
# Rows that one press of a button changes; more take another press.
MAX_CHANGED: Final = 10_000
MAX_GROUPS: Final = 20


@dataclass(frozen=True, slots=True)
class Queue:
    """One table of work."""

    model: type[Model]
    due: Callable[[], Q]
    dead: Q
    # When the oldest due row became due; None if none is.
    oldest: Callable[[], datetime | None]
    retry: Callable[[list[Any]], int]
    drop: Callable[[list[Any]], int]
    waiting: Callable[[], Q] | None = None
    can_retry: bool = True

    @property
    def name(self) -> str:
        return self.model._meta.label

    @property
    def label(self) -> str:
        return gettext(str(self.model._meta.verbose_name_plural))

    def rows(self, condition: Q) -> QuerySet[Any]:
        return self.model._default_manager.filter(condition)

    def count(self, condition: Q) -> int:
        return self.rows(condition).order_by()[: MAX_COUNTED + 1].count()


# What the models are called, for the catalogs of translations.
QUEUE_NAMES = (
    _("inbox messages"),
    _("outbox messages"),
    _("digests"),
    _("forward deliveries"),
    _("push deliveries"),
    _("broadcasts"),
    _("webhook deliveries"),
    _("contract proofs"),
    _("identity keys"),
    _("identity unregistrations"),
    _("known identities"),
    _("account watches"),
    _("domain checks"),
    _("icons"),
    _("subscribe attempts"),
    _("subscription jobs"),
    _("cold starts"),
    _("store checks"),
)


@dataclass(frozen=True, slots=True)
class Depth:
    queue: Queue
    due: int
    waiting: int
    working: int
    dead: int
    oldest: datetime | None

    @property
    def oldest_age_s(self) -> float:
        """Seconds that the oldest due row has waited; 0 if none is due."""
        if self.oldest is None:
            return 0.0
        return max(0.0, (clock.now() - self.oldest).total_seconds())


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters of one queue with the same reason."""

    queue: Queue
    reason: str
    count: int
    sample: Any


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """``is_complete``: False if more rows exist than were looked at."""

    queue: Queue
    is_complete: bool
    groups: list[Group] = field(default_factory=list)


def bounded(count: int) -> str:
    """``10,000+`` above the bound of every count."""
    return f"{MAX_COUNTED:,}+" if count > MAX_COUNTED else f"{count:,}"


# --- the queues -------------------------------------------------------------------------


def queues() -> list[Queue]:
    return [_inbox(), _outbox(), *map(_of_work_items, _work_item_models())]


def queue_named(name: str) -> Queue | None:
    return next((queue for queue in queues() if queue.name == name), None)


def _work_item_models() -> list[type[WorkItem]]:
    def below(model: type[WorkItem]) -> Iterator[type[WorkItem]]:
        for each in model.__subclasses__():
            if not each._meta.abstract:
                yield each
            yield from below(each)

    found = below(WorkItem)  # type: ignore[type-abstract]  # subclasses only
    return sorted(set(found), key=lambda model: model._meta.label)


def _of_work_items(model: type[WorkItem]) -> Queue:
    changes = model.retry_changes
    dead = Q(next_attempt_at=None) & ~Q(reason="")

    def retry(pks: list[Any]) -> int:
        rows: QuerySet[Any] = model._default_manager.filter(dead, pk__in=pks)
        return rows.update(**fresh_work(), reason="", **(changes or {}))

    def drop(pks: list[Any]) -> int:
        # The row may be more than work (a watch, an identity), so it is kept.
        rows: QuerySet[Any] = model._default_manager.filter(dead, pk__in=pks)
        return rows.update(reason="")

    return Queue(
        model=model,
        due=lambda: Q(next_attempt_at__lte=clock.now()),
        waiting=lambda: Q(next_attempt_at__gt=clock.now()),
        dead=dead,
        oldest=lambda: (
            model._default_manager.filter(next_attempt_at__lte=clock.now())
            .order_by("next_attempt_at")
            .values_list("next_attempt_at", flat=True)
            .first()
        ),
        retry=retry,
        drop=drop,
        can_retry=changes is not None,
    )


def _inbox() -> Queue:
    failed = Q(state=InboxMessage.State.FAILED)

    def drop(pks: list[Any]) -> int:
        # As if handled: a copy that the relay delivers again is still recognized.
        return InboxMessage.objects.filter(failed, pk__in=pks).update(
            state=InboxMessage.State.HANDLED,
            reason="dropped",
            message="",
            handled_at=clock.now(),
        )

    return Queue(
        model=InboxMessage,
        due=lambda: Q(state=InboxMessage.State.DUE),
        dead=failed,
        oldest=lambda: (
            InboxMessage.objects.filter(state=InboxMessage.State.DUE)
            .order_by("id")
            .values_list("received_at", flat=True)
            .first()
        ),
        retry=lambda pks: messaging.replay(InboxMessage.State.FAILED, pks=pks),
        drop=drop,
    )


def _outbox() -> Queue:
    failed = Q(state=OutboxMessage.State.FAILED)

    def drop(pks: list[Any]) -> int:
        return OutboxMessage.objects.filter(failed, pk__in=pks).delete()[0]

    return Queue(
        model=OutboxMessage,
        due=lambda: Q(state=OutboxMessage.State.DUE),
        dead=failed,
        oldest=messaging.oldest_due_in_outbox,
        retry=messaging.publish_again,
        drop=drop,
    )


# --- what is in them --------------------------------------------------------------------


def depth(queue: Queue) -> Depth:
    due = queue.due()
    working = 0
    if hasattr(queue.model, "leased_until"):
        working = queue.count(due_leased(queue))
    return Depth(
        queue=queue,
        due=queue.count(due),
        waiting=queue.count(queue.waiting()) if queue.waiting else 0,
        working=working,
        dead=queue.count(queue.dead) if queue.can_retry else 0,
        oldest=queue.oldest(),
    )


def depths() -> list[Depth]:
    """Of every queue, by indexes only.

    PostgreSQL expects many due rows for a while after a long queue has become short, and
    would then rather read a table of millions from its beginning.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        return [depth(queue) for queue in queues()]


def due_leased(queue: Queue) -> Q:
    """Due rows that a worker holds. The first condition is that of an index."""
    return queue.due() & Q(leased_until__gt=clock.now())


def dead_letters() -> list[DeadLetters]:
    """Failed rows of every queue that has some, grouped by reason, largest first."""
    found = []
    for queue in queues():
        if not queue.can_retry:
            continue
        rows = list(
            queue.rows(queue.dead)
            .order_by()
            .values_list("pk", "reason")[: MAX_COUNTED + 1]
        )
        if not rows:
            continue
        counts = Counter(reason for _, reason in rows)
        samples = dict(reversed([(reason, pk) for pk, reason in rows]))
        shown = counts.most_common(MAX_GROUPS)
        models = queue.model._default_manager.in_bulk(
            [samples[reason] for reason, _ in shown]
        )
        groups = [
            Group(queue, reason, count, models.get(samples[reason]))
            for reason, count in shown
        ]
        found.append(
            DeadLetters(
                queue,
                is_complete=len(rows) <= MAX_COUNTED and len(counts) <= MAX_GROUPS,
                groups=groups,
            )
        )
    return found


# --- actions ----------------------------------------------------------------------------


def change(
    queue: Queue,
    act: str,
    *,
    reason: str,
    pk: str = "",
    actor: User,
    device: Device | None,
) -> int:
    """``retry`` or ``drop`` one row, or all with ``reason``. Returns how many.

    Rows that are no longer failed are left alone, so that a second press does nothing.
    """
    with transaction.atomic():
        rows = queue.rows(queue.dead).filter(reason=reason).order_by()
        if pk:
            rows = rows.filter(pk=pk)
        pks = list(
            rows.select_for_update(skip_locked=True, of=("self",)).values_list(
                "pk", flat=True
            )[:MAX_CHANGED]
        )
        if not pks:
            return 0
        count = queue.retry(pks) if act == "retry" else queue.drop(pks)
        audit(
            f"queue.{act}",
            actor=actor,
            device=device,
            subject=f"{queue.name} {pk}".strip(),
            detail=f"{count} rows: {reason}",
        )
    return count
