"""Records of the twenty steps: which party carried out which step, when, and its messages.

Records are shown (the page of a run, ``manage.py demo``); the protocol never reads them. So
recording is idempotent and never fails the work that it describes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from accounts.services import EventDraft, EventKind, record_events
from common import clock
from runlog.models import StepRecord

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

logger = logging.getLogger(__name__)

# One statement for a whole batch: a relay batch completes steps of many runs at once.
_INSERT = """
INSERT INTO runlog_steprecord (run, step, actor, actor_key, at, wire)
SELECT * FROM unnest(
    %s::text[], %s::int[], %s::text[], %s::text[], %s::timestamptz[], %s::jsonb[]
)
ON CONFLICT (run, step, actor_key) DO NOTHING
RETURNING run, step, actor_key
"""


@dataclass(frozen=True, slots=True)
class StepDraft:
    """One step to record. ``wire`` is what others can see of it, without secrets."""

    run: str
    step: int
    actor: str
    wire: dict[str, Any] = field(default_factory=dict)
    at: datetime | None = None
    account_id: int | None = None
    actor_key: str = ""


def record(
    run: str,
    step: int,
    actor: str,
    *,
    wire: dict[str, Any],
    at: datetime | None = None,
    account_id: int | None = None,
    actor_key: str = "",
) -> None:
    """Record one step; ``run`` is the response topic, ``actor_key`` identifies the device."""
    record_all([StepDraft(run, int(step), actor, wire, at, account_id, actor_key)])


def record_all(drafts: Iterable[StepDraft]) -> None:
    """Record steps, each once however often it is passed, and record their events.

    Events lock rows of users: call this late in a transaction.
    """
    found = [draft for draft in drafts if draft.run]
    if not found:
        return
    now = clock.now()
    try:
        # In a savepoint: a failing record must not undo the protocol work around it.
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    _INSERT,
                    [
                        [draft.run for draft in found],
                        [draft.step for draft in found],
                        [draft.actor for draft in found],
                        [draft.actor_key for draft in found],
                        [draft.at or now for draft in found],
                        [Jsonb(draft.wire) for draft in found],
                    ],
                )
                fresh = set(cursor.fetchall())
            record_events(
                [
                    EventDraft(
                        draft.account_id, EventKind.STEP, event_subject(draft.run)
                    )
                    for draft in found
                    if draft.account_id is not None
                    and (draft.run, draft.step, draft.actor_key) in fresh
                ]
            )
    except (DatabaseError, TypeError, ValueError) as error:
        logger.warning("steps not recorded", extra={"error": type(error).__name__})


def event_subject(run: str) -> str:
    """How an ``AccountEvent`` names a run."""
    return f"relay.run:{run}"


def of_run(run: str) -> list[StepRecord]:
    """The records of a run, in the order of the twenty steps."""
    return list(StepRecord.objects.filter(run=run).order_by("step", "at", "id"))


def forget(runs: Iterable[str]) -> None:
    """Delete the records of ``runs``, when their account is removed."""
    StepRecord.objects.filter(run__in=list(runs)).delete()
