"""The states of a subscribe attempt, and how it ends without a subscription.

    RESOLVING → REQUESTED → SETTLED → SYNCED       with sync, SETTLED is passed in one go
        ↓           ↓
    REJECTED    REJECTED    the dapp cannot be used, or answered no
    EXPIRED     EXPIRED     nobody answered in time, or the person gave up

An attempt moves by a conditional UPDATE and its mover goes on only with the rows that
changed: an answer that is delivered twice settles once (reliability.md, items 4 and 9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction

from accounts.services import record_events
from common import clock
from common.work_queue import NO_WORK, repeat
from keychain.services import Holder, forget
from messaging import outbox
from messaging.models import Party
from subscriptions.models import REASON_LENGTH, SubscribeAttempt
from subscriptions.services.wallet import attempt_event, require_own

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from accounts.models import Device

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
GIVEN_UP: Final = "Given up before the dapp answered."


class IllegalMove(Exception):
    """Our own code asked for a move that the table does not have."""


def move(pks: Collection[UUID], old: State, new: State, **values: object) -> int:
    """Move attempts that are in ``old``; how many were."""
    if (old, new) not in MOVES:
        raise IllegalMove(f"no attempt moves from {old} to {new}")
    return SubscribeAttempt.objects.filter(pk__in=list(pks), state=old).update(
        state=new, **NO_WORK, **values
    )


def end_attempt(attempt: SubscribeAttempt, new: State, *, reason: str) -> bool:
    """End an attempt that came to nothing, from the state that was read.

    Its topic is left and its keys are forgotten: an answer that comes later does not
    even open. The caller records ``attempt_event``.
    """
    old = State(attempt.state)
    if not move([attempt.pk], old, new, reason=reason[:REASON_LENGTH]):
        return False
    attempt.state, attempt.reason = new, reason[:REASON_LENGTH]
    close_run(attempt)
    return True


def close_run(attempt: SubscribeAttempt) -> None:
    """Leave the response topic and forget Y and S: they have done their work."""
    if not attempt.response_topic:
        return
    outbox.unsubscribe(Party.WALLET, [attempt.response_topic])
    forget(Holder.WALLET, [attempt.response_topic, attempt.topic_of_key_pair_y])


@transaction.atomic
def give_up(attempt: SubscribeAttempt, device: Device) -> bool:
    """End an open attempt at a person's wish; False if it was over already."""
    row = (
        SubscribeAttempt.objects.select_for_update(of=("self",))
        .select_related("account")
        .get(pk=attempt.pk)
    )
    require_own(row.account, device)
    if not row.is_open or not end_attempt(row, State.EXPIRED, reason=GIVEN_UP):
        return False
    record_events([attempt_event(row)])
    return True


def expire_attempts() -> int:
    """End what was not answered in time; how many attempts that were."""
    return repeat(_expire_some)


@transaction.atomic
def _expire_some() -> int:
    due = list(
        SubscribeAttempt.objects.select_for_update(skip_locked=True)
        .filter(state__in=SubscribeAttempt.OPEN, expires_at__lte=clock.now())
        .order_by("pk")[:EXPIRE_BATCH_SIZE]
    )
    ended = [
        attempt
        for attempt in due
        if end_attempt(attempt, State.EXPIRED, reason=_why(attempt))
    ]
    record_events([attempt_event(attempt) for attempt in ended])
    return len(ended)


def _why(attempt: SubscribeAttempt) -> str:
    if attempt.state == State.REQUESTED:
        return NO_ANSWER
    return attempt.reason or NO_DOCUMENTS
