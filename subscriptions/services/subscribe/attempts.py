"""The states of a subscribe attempt, and how it ends without a subscription.

    RESOLVING → REQUESTED → SETTLED → SYNCED       with Sync on, SETTLED is skipped
        ↓           ↓
    REJECTED    REJECTED    the dapp is unusable, or refused
    EXPIRED     EXPIRED     no answer in time

An attempt moves by a conditional UPDATE, and the mover continues only with the rows that
changed: an answer that is delivered twice settles once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction

from accounts.services import record_events
from common import clock
from common.work_queue import NO_WORK, in_batches
from keychain.services import Holder, forget
from messaging import outbox
from messaging.models import Party
from subscriptions.models import REASON_LENGTH, SubscribeAttempt
from subscriptions.services.wallet import attempt_event

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

State = SubscribeAttempt.State

MOVES: Final = frozenset(
    {
        (State.RESOLVING, State.REQUESTED),
        (State.RESOLVING, State.REJECTED),
        (State.RESOLVING, State.EXPIRED),
        (State.REQUESTED, State.SETTLED),
        (State.REQUESTED, State.SYNCED),
        (State.REQUESTED, State.REJECTED),
        (State.REQUESTED, State.EXPIRED),
        (State.SETTLED, State.SYNCED),
    }
)

EXPIRE_BATCH_SIZE: Final = 500
NO_ANSWER: Final = "The dapp did not answer in time."
NO_DOCUMENTS: Final = "The dapp's documents could not be read in time."


class IllegalMove(Exception):
    """Our own code asked for a move that the table does not have."""


def move(pks: Collection[UUID], old: State, new: State, **values: object) -> int:
    """Move attempts that are in ``old``; returns how many were."""
    if (old, new) not in MOVES:
        raise IllegalMove(f"no attempt moves from {old} to {new}")
    return SubscribeAttempt.objects.filter(pk__in=list(pks), state=old).update(
        state=new, **NO_WORK, **values
    )


def end_attempt(attempt: SubscribeAttempt, new: State, *, reason: str) -> bool:
    """End an attempt without a subscription, from the state that was read.

    Unsubscribes from its topic and deletes its keys, so that an answer that comes later
    cannot be decrypted. The caller records ``attempt_event``.
    """
    old = State(attempt.state)
    if not move([attempt.pk], old, new, reason=reason[:REASON_LENGTH]):
        return False
    attempt.state, attempt.reason = new, reason[:REASON_LENGTH]
    close_run(attempt)
    return True


def close_run(attempt: SubscribeAttempt) -> None:
    """Unsubscribe from the response topic and delete keys Y and S."""
    if not attempt.response_topic:
        return
    outbox.unsubscribe(Party.WALLET, [attempt.response_topic])
    forget(Holder.WALLET, [attempt.response_topic, attempt.topic_of_key_pair_y])


@in_batches
@transaction.atomic
def expire_attempts() -> int:
    """End attempts that were not answered in time; returns how many."""
    due = list(
        SubscribeAttempt.objects.select_for_update(skip_locked=True)
        .filter(state__in=SubscribeAttempt.OPEN, expires_at__lte=clock.now())
        # Ordered by deadline, so the batch limit delays no account's old attempt.
        .order_by("expires_at", "pk")[:EXPIRE_BATCH_SIZE]
    )
    ended = []
    for attempt in due:
        requested = attempt.state == State.REQUESTED
        reason = NO_ANSWER if requested else attempt.reason or NO_DOCUMENTS
        if end_attempt(attempt, State.EXPIRED, reason=reason):
            ended.append(attempt)
    record_events([attempt_event(attempt) for attempt in ended])
    return len(ended)
