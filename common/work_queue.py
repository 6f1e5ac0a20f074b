"""Work queues in PostgreSQL: the one model, claim, back-off and rule for dead workers.

A piece of work is a row with ``next_attempt_at``; null means that nothing is left to do.
A worker claims due rows (a lease), works outside any transaction, and records the result
only while the lease is still its own. ``docs/queues.md`` explains the rule and how to add
a queue.
"""

from __future__ import annotations

import functools
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, ParamSpec, TypeVar

from django.db import connection, models, transaction
from django.db.models import F, Func, Q, TextField, Value, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import Least, Lower, RowNumber

from common import clock, counters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from common.backoff import Backoff

REASON_LENGTH: Final = 200
# Longer than any network deadline of ours; a worker that dies frees its rows at once.
LEASE: Final = timedelta(seconds=60)
MAX_ATTEMPTS_COUNTED: Final = 30_000
# Rows that one claim looks at per row that it takes, when owners or hosts are capped.
CANDIDATES_PER_CLAIM: Final = 16
# Sessions of all users are visible, though not their statements.
LIVE_SESSIONS: Final = "SELECT pid FROM pg_stat_activity WHERE pid IS NOT NULL"

_LeasedRow = TypeVar("_LeasedRow", bound="Leased")
_Row = TypeVar("_Row", bound="WorkItem")
_Args = ParamSpec("_Args")


# --- leases ---------------------------------------------------------------------------


def session_pid() -> int:
    """The backend process id of this thread's database session."""
    # From PostgreSQL itself: behind a pooler, libpq reports a number of the pooler.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid: int = cursor.fetchone()[0]
    return pid


# The same for statements: ``{row}`` is a row's name, ``%(now)s`` the time.
FREE_SQL: Final = f"""(
    {{row}}.leased_until IS NULL OR {{row}}.leased_until <= %(now)s
    OR {{row}}.leased_by NOT IN ({LIVE_SESSIONS})
)"""  # constants of ours


def is_free(now: datetime) -> Q:
    """Rows without a lease, with an expired one, or whose holder's session is gone.

    PostgreSQL ends the sessions of a killed worker at once, long before its leases end.
    Taking a row from a holder that lives after all is harmless: results are written
    through ``held``.
    """
    live = RawSQL(LIVE_SESSIONS, ())  # noqa: S611  # a constant of ours
    return (
        Q(leased_until=None)
        | Q(leased_until__lte=now)
        | (Q(leased_by__isnull=False) & ~Q(leased_by__in=live))
    )


class LeasedQuerySet(models.QuerySet[_LeasedRow]):
    def free(self) -> LeasedQuerySet[_LeasedRow]:
        return self.filter(is_free(clock.now()))

    def leased(self) -> LeasedQuerySet[_LeasedRow]:
        now = clock.now()
        return self.filter(leased_until__gt=now).exclude(is_free(now))


class Leased(models.Model):
    """A row that one worker at a time may work on."""

    leased_until = models.DateTimeField(null=True, blank=True, editable=False)
    leased_by = models.IntegerField(
        null=True,
        blank=True,
        editable=False,
        help_text="backend pid of the worker's database session",
    )

    class Meta:
        abstract = True


# --- queues ---------------------------------------------------------------------------


class WorkQuerySet(LeasedQuerySet[_Row]):
    def due(self) -> WorkQuerySet[_Row]:
        """Rows that are due and that no live worker holds."""
        now = clock.now()
        return self.filter(is_free(now), next_attempt_at__lte=now)

    def leased(self) -> WorkQuerySet[_Row]:
        # The second condition is for the planner: it matches the index of due rows.
        return super().leased().filter(next_attempt_at__isnull=False)  # type: ignore[return-value]

    def fairly(self, owner: str) -> WorkQuerySet[_Row]:
        """In turns: first the oldest due row of every owner, then the second of each.

        However many rows one owner has due, every other owner's next row comes early.
        """
        return self.annotate(  # type: ignore[return-value]  # no annotations in it
            turn=Window(
                RowNumber(),
                partition_by=[F(owner)],
                order_by=[F("next_attempt_at").asc(), F("pk").asc()],
            )
        ).order_by("turn", "next_attempt_at", "pk")

    def claim(
        self,
        limit: int,
        *,
        owner: str,
        lease: timedelta = LEASE,
        max_in_flight: int | None = None,
        caps: Mapping[str, int] | None = None,
    ) -> list[_Row]:
        """Lease up to ``limit`` due rows of this queryset, fairly between owners.

        ``caps`` bounds how many rows with one value of a column or annotation all
        workers together may have leased, say ``{"project__owner": 4, "host": 8}``;
        ``max_in_flight`` bounds the leased rows in all. ``owner`` must not be null.
        """
        caps = dict(caps or {})
        until = clock.now() + lease
        with transaction.atomic():
            # Claims of one table follow each other, so that each counts the leases of
            # the one before. Without it two of them would fill the same slots.
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(hashtext('work queue'), hashtext(%s))",
                    [self.model._meta.db_table],
                )
            chosen = self._choose(
                limit, owner=owner, max_in_flight=max_in_flight, caps=caps
            )
            if not chosen:
                return []
            rows = list(
                self.due()
                .select_for_update(of=("self",), skip_locked=True)
                .filter(pk__in=chosen)
                .order_by("next_attempt_at", "pk")
            )
            self.model._default_manager.filter(pk__in=[row.pk for row in rows]).update(
                attempts=Least(F("attempts") + 1, Value(MAX_ATTEMPTS_COUNTED)),
                leased_until=until,
                leased_by=session_pid(),
            )
        taken_over = sum(row.leased_until is not None for row in rows)
        counters.count("lease_expiries", {self.model._meta.label: taken_over})
        for row in rows:
            row.attempts = min(row.attempts + 1, MAX_ATTEMPTS_COUNTED)
            row.leased_until = until
        return rows

    def _choose(
        self,
        limit: int,
        *,
        owner: str,
        max_in_flight: int | None,
        caps: dict[str, int],
    ) -> list[Any]:
        columns = [owner, *(name for name in caps if name != owner)]
        leased = list(self.leased().values_list(*columns))
        if max_in_flight is not None:
            limit = min(limit, max_in_flight - len(leased))
        if limit <= 0:
            return []
        held = [Counter(row[place] for row in leased) for place in range(len(columns))]
        free = self.due()
        for name, cap in caps.items():
            counts = held[columns.index(name)]
            full = [value for value, count in counts.items() if count >= cap]
            free = free.exclude(**{f"{name}__in": full})
        found = list(
            free.fairly(owner).values_list("pk", "turn", *columns)[
                : limit * (CANDIDATES_PER_CLAIM if caps else 1)
            ]
        )
        # Owners with rows in work come after owners without.
        found.sort(key=lambda row: row[1] + held[0][row[2]])
        chosen: list[Any] = []
        for pk, _, *values in found:
            if len(chosen) == limit:
                break
            if any(
                held[columns.index(name)][values[columns.index(name)]] >= cap
                for name, cap in caps.items()
            ):
                continue
            for counts, value in zip(held, values, strict=True):
                counts[value] += 1
            chosen.append(pk)
        return chosen

    def held(self, row: _Row) -> WorkQuerySet[_Row]:
        """The row of a claim while its lease is valid; none once another worker took it."""
        return self.filter(
            pk=row.pk, leased_until=row.leased_until, attempts=row.attempts
        )


def host_of(url: str) -> Lower:
    """Host and port of the URL in this column, for ``caps`` of rows that call hosts."""
    return Lower(
        Func(
            F(url),
            template="substring(%(expressions)s from '://([^/?#]*)')",
            output_field=TextField(),
        )
    )


# What an UPDATE sets to end the work on rows; ``fresh_work`` starts it anew.
NO_WORK: Final = {"next_attempt_at": None, "leased_until": None, "leased_by": None}


def fresh_work() -> dict[str, Any]:
    return {**NO_WORK, "next_attempt_at": clock.now(), "attempts": 0}


class WorkItem(Leased):
    """A row that is a piece of work. Subclasses add its subject.

    ``attempts`` counts claims since the work was queued.
    """

    attempts = models.PositiveSmallIntegerField(default=0)
    # Null: nothing is left to do.
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(
        "why the last attempt failed", max_length=REASON_LENGTH, blank=True
    )

    # Columns that an operator's retry sets on a row whose attempts are over; None if such
    # a row must stay as it is, because its owner starts a new one.
    retry_changes: ClassVar[dict[str, object] | None] = {}

    objects = WorkQuerySet.as_manager()

    class Meta:
        abstract = True
        # Most rows of most queues are done. A subclass with indexes of its own repeats
        # it: ``indexes = [*WorkItem.Meta.indexes, ...]``.
        indexes: ClassVar = [
            models.Index(
                fields=["next_attempt_at"],
                name="%(class)s_due",
                condition=models.Q(next_attempt_at__isnull=False),
            ),
            # Dead letters: without it, listing them would read every finished row.
            models.Index(
                fields=["reason"],
                name="%(class)s_dead",
                condition=models.Q(next_attempt_at__isnull=True) & ~models.Q(reason=""),
            ),
        ]

    def finish(self, **changes: object) -> bool:
        """End the work. False, and no change, if the lease was lost."""
        return self._release({"next_attempt_at": None, "reason": "", **changes})

    def retry_later(
        self,
        backoff: Backoff,
        reason: str,
        *,
        not_before: datetime | None = None,
        **changes: object,
    ) -> bool:
        """Try again after the back-off, or never if it is over.

        ``not_before`` is what the other side asked for (``Retry-After``). Returns False, and
        changes nothing, if the lease was lost.
        """
        due: datetime | None = None
        if not backoff.is_over(self.attempts):
            due = clock.now() + backoff.delay(self.attempts)
            due = max(due, not_before or due)
        return self.put_off(due, reason, **changes)

    def put_off(self, until: datetime | None, reason: str, **changes: object) -> bool:
        """Try again at a time that the caller knows. False if the lease was lost."""
        return self._release(
            {"next_attempt_at": until, "reason": reason[:REASON_LENGTH], **changes}
        )

    def _release(self, changes: dict[str, object]) -> bool:
        manager: Any = type(self)._default_manager
        changes |= {"leased_until": None, "leased_by": None}
        if not manager.get_queryset().held(self).update(**changes):
            return False
        for name, value in changes.items():
            setattr(self, name, value)
        return True


# --- sweeps that end rows ---------------------------------------------------------------


def in_batches(batch: Callable[_Args, int]) -> Callable[_Args, int]:
    """A sweep of a function that ends one batch of rows and returns how many.

    It is called until it finds no row; the sweep returns how many it found in all. With
    one batch per tick of the schedule, one owner's thousands of rows would delay everyone
    else's.
    """

    @functools.wraps(batch)
    def sweep(*args: _Args.args, **kwargs: _Args.kwargs) -> int:
        total = 0
        while count := batch(*args, **kwargs):
            total += count
        return total

    return sweep
