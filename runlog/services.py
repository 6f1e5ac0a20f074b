"""The record of the twenty steps: who carried out which, when, what crossed the wire.

A record is for people (the page of a run, ``manage.py demo``); the protocol never reads
it. So recording is idempotent and never fails the work that it describes.
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
    """One step to record. ``wire`` is what others could see of it: no secrets."""

    run: str
    step: int
    actor: str
    wire: dict[str, Any] = field(default_factory=dict)
    at: datetime | None = None
    account_id: int | None = None
    actor_key: str = ""

    def to_value(self) -> dict[str, Any]:
        """The draft as JSON, for a step that waits; its time is not known yet."""
        return {
            "run": self.run,
            "step": self.step,
            "actor": self.actor,
            "wire": self.wire,
            "accountId": self.account_id,
            "actorKey": self.actor_key,
        }

    @classmethod
    def from_value(cls, value: dict[str, Any], *, at: datetime) -> StepDraft:
        return cls(
            run=value["run"],
            step=value["step"],
            actor=value["actor"],
            wire=value["wire"],
            at=at,
            account_id=value["accountId"],
            actor_key=value["actorKey"],
        )


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
    """Record one step; ``run`` is the response topic, ``actor_key`` tells devices apart."""
    record_all([StepDraft(run, int(step), actor, wire, at, account_id, actor_key)])


def record_all(drafts: Iterable[StepDraft]) -> None:
    """Record steps, each once however often it is recorded, and tell live viewers.

    Telling them locks rows of users: call this late in a transaction.
    """
    found = [draft for draft in drafts if draft.run]
    if not found:
        return
    try:
        with transaction.atomic():
            fresh = _insert(found)
            record_events(
                [
                    EventDraft(
                        draft.account_id, EventKind.STEP, event_subject(draft.run)
                    )
                    for draft in found
                    if draft.account_id is not None and _key(draft) in fresh
                ]
            )
    except (DatabaseError, TypeError, ValueError) as error:
        logger.warning("steps not recorded", extra={"error": type(error).__name__})


def event_subject(run: str) -> str:
    """How an ``AccountEvent`` names a run."""
    return f"relay.run:{run}"


def of_run(run: str) -> list[StepRecord]:
    """What is recorded of a run, in the order of the seed's numbers."""
    return list(StepRecord.objects.filter(run=run).order_by("step", "at", "id"))


def _key(draft: StepDraft) -> tuple[str, int, str]:
    return draft.run, draft.step, draft.actor_key


def _insert(drafts: list[StepDraft]) -> set[tuple[str, int, str]]:
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            [
                [draft.run for draft in drafts],
                [draft.step for draft in drafts],
                [draft.actor for draft in drafts],
                [draft.actor_key for draft in drafts],
                [draft.at or now for draft in drafts],
                [Jsonb(draft.wire) for draft in drafts],
            ],
        )
        return {(run, step, actor_key) for run, step, actor_key in cursor.fetchall()}


def forget(runs: Iterable[str]) -> None:
    """Delete what is recorded of ``runs``, when their account goes."""
    StepRecord.objects.filter(run__in=list(runs)).delete()
