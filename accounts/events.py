"""Account events: numbered per user, so that browsers can catch up from a cursor.

Every change that a user should see is one ``AccountEvent``, numbered per user without gaps
in the transaction of the change, and handed to the notification channels. A browser that
receives an unexpected number, or nothing for a while, fetches the events after its cursor.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db import connection, transaction

from accounts import channels
from accounts.channels import Head, NewEvent, UserEvents
from accounts.models import Account, AccountEvent, User
from common import clock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from accounts.models import EventKind

PAGE_SIZE: Final = 200

_RAISE_SEQUENCES: Final = """
UPDATE accounts_user SET event_sequence = raised.sequence
FROM unnest(%(users)s::bigint[], %(sequences)s::bigint[]) AS raised (id, sequence)
WHERE accounts_user.id = raised.id
"""
_INSERT: Final = """
INSERT INTO accounts_accountevent
    (user_id, sequence, account_id, kind, subject, created_at)
SELECT user_id, sequence, account_id, kind, subject, %(now)s
FROM unnest(
    %(users)s::bigint[], %(sequences)s::bigint[], %(accounts)s::bigint[],
    %(kinds)s::text[], %(subjects)s::text[]
) AS event (user_id, sequence, account_id, kind, subject)
"""
# One statement, so that head and events are of one moment. Events are read for cursors only
# that may continue.
_CATCH_UP: Final = """
SELECT wanted.place, owner.event_sequence, owner.event_generation,
    missed.sequence, missed.kind, missed.subject
FROM unnest(%(users)s::bigint[], %(sequences)s::bigint[], %(generations)s::uuid[])
    WITH ORDINALITY AS wanted (user_id, sequence, generation, place)
JOIN accounts_user owner ON owner.id = wanted.user_id
LEFT JOIN LATERAL (
    SELECT sequence, kind, subject FROM accounts_accountevent event
    WHERE event.user_id = wanted.user_id AND event.sequence > wanted.sequence
        AND wanted.sequence >= 0 AND wanted.generation = owner.event_generation
    ORDER BY event.sequence LIMIT %(limit)s
) missed ON true
ORDER BY wanted.place, missed.sequence
"""


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event to record. ``subject`` names the row that changed, never its content.

    Name the account; for what concerns no account (a device), name the user instead.
    """

    account_id: int | None
    kind: EventKind
    subject: str
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """What a browser needs of an ``AccountEvent``."""

    sequence: int
    kind: str
    subject: str


@dataclass(frozen=True, slots=True)
class Position:
    """A browser's cursor in the events of a user."""

    user_id: int
    sequence: int
    generation: UUID | None


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What a browser missed. With ``refetch`` its cursor is invalid: reload the page."""

    head: Head
    events: list[RecordedEvent]
    refetch: bool


# --- recording ------------------------------------------------------------------------


@transaction.atomic(savepoint=False)
def record_events(drafts: Sequence[EventDraft]) -> None:
    """Number and store the events of one state change, and hand them to the channels.

    Four statements, however many events. Takes the row locks of all users concerned, in
    one order: call it once per transaction, last.
    """
    if not drafts:
        return
    ids = {draft.account_id for draft in drafts if draft.account_id is not None}
    owners = dict(Account.objects.filter(pk__in=ids).values_list("pk", "user_id"))
    by_user: dict[int, list[EventDraft]] = defaultdict(list)
    for draft in drafts:
        user_id = draft.user_id
        if draft.account_id is not None:
            # Events of an account that is gone have no receiver and are dropped.
            user_id = owners.get(draft.account_id)
        if user_id is not None:
            by_user[user_id].append(draft)
    # The lock makes numbers gapless: two writers would otherwise take the same ones.
    users = list(
        User.objects.select_for_update(no_key=True)
        .filter(pk__in=by_user)
        .only("event_sequence", "event_generation")
        .order_by("pk")
    )
    now = clock.now()
    batches = []
    for user in users:
        events = [
            NewEvent(user.pk, sequence, draft.account_id, draft.kind, draft.subject)
            for sequence, draft in enumerate(by_user[user.pk], user.event_sequence + 1)
        ]
        user.event_sequence += len(events)
        head = Head(user.event_sequence, user.event_generation)
        batches.append(UserEvents(user.pk, head, events))
    # As columns: the ORM would take a fifth of the CPU time of a received notification.
    stored = [event for batch in batches for event in batch.events]
    with connection.cursor() as cursor:
        cursor.execute(
            _RAISE_SEQUENCES,
            {
                "users": [user.pk for user in users],
                "sequences": [user.event_sequence for user in users],
            },
        )
        cursor.execute(
            _INSERT,
            {
                "users": [event.user_id for event in stored],
                "sequences": [event.sequence for event in stored],
                "accounts": [event.account_id for event in stored],
                "kinds": [str(event.kind) for event in stored],
                "subjects": [event.subject for event in stored],
                "now": now,
            },
        )
    channels.deliver(batches)


# --- catching up ----------------------------------------------------------------------


def head_of(user_id: int) -> Head:
    sequence, generation = User.objects.values_list(
        "event_sequence", "event_generation"
    ).get(pk=user_id)
    return Head(sequence, generation)


def events_after(
    user: User, sequence: int, *, limit: int = PAGE_SIZE
) -> list[AccountEvent]:
    """The user's next events after a cursor, oldest first."""
    events = AccountEvent.objects.filter(user=user, sequence__gt=sequence)
    return list(events.order_by("sequence")[:limit])


def catch_up(
    user: User, sequence: int, *, generation: UUID | None, limit: int = PAGE_SIZE
) -> CatchUp:
    """The events after a browser's cursor, or that it must reload everything."""
    found = catch_up_all([Position(user.pk, sequence, generation)], limit=limit)[0]
    if found is None:
        raise User.DoesNotExist
    return found


def catch_up_all(
    positions: Sequence[Position], *, limit: int = PAGE_SIZE
) -> list[CatchUp | None]:
    """As ``catch_up``, for many cursors in one query; None for users that are gone.

    A cursor must refetch if it is of another generation, lies in the future, or so far
    back that the events after it were pruned.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _CATCH_UP,
            {
                "users": [each.user_id for each in positions],
                "sequences": [each.sequence for each in positions],
                "generations": [each.generation for each in positions],
                "limit": limit,
            },
        )
        rows = cursor.fetchall()
    found: list[CatchUp | None] = [None] * len(positions)
    for place, head, generation, sequence, kind, subject in rows:
        known = found[place - 1]
        if known is None:
            known = CatchUp(Head(head, generation), [], refetch=False)
            found[place - 1] = known
        if sequence is not None:
            known.events.append(RecordedEvent(sequence, kind, subject))
    return [
        each
        if each is None or _continues(position, each)
        else CatchUp(each.head, [], refetch=True)
        for position, each in zip(positions, found, strict=True)
    ]


def _continues(position: Position, found: CatchUp) -> bool:
    head, start = found.head, position.sequence
    if position.generation != head.generation or not 0 <= start <= head.sequence:
        return False
    # What pruning leaves is a gap right behind the cursor.
    return start == head.sequence or (
        bool(found.events) and found.events[0].sequence == start + 1
    )
