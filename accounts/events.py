"""Account events: the numbered hints that keep a user's browsers in step.

reliability.md, item 27. Every change that a browser should see is one ``AccountEvent``,
numbered per user without gaps, in the transaction of the change. On commit each user's
Channels group hears the new head; a browser that hears a number it does not expect (or
nothing for a while) asks for what it missed. Losing an announcement costs time only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

import redis
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import connection, transaction

from accounts.models import Account, AccountEvent, User
from common import clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from channels.layers import BaseChannelLayer

logger = logging.getLogger(__name__)

SENT_BATCH_SIZE: Final = 100
PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event to record. ``subject`` names the row that changed, never its content.

    Name the account; for what concerns no account (a device), name the user instead.
    """

    account_id: int | None
    kind: str
    subject: str
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """How far a user's events go. Another generation makes every cursor invalid."""

    sequence: int
    generation: UUID


class AccountEvents(TypedDict):
    """What the group ``user.<pk>`` hears."""

    type: Literal["account.events"]
    sequence: int
    generation: str


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What a browser missed. ``refetch``: its cursor means nothing here, start anew."""

    head: Head
    events: list[AccountEvent]
    refetch: bool


def user_group(user_id: int) -> str:
    return f"user.{user_id}"


def device_group(device_id: UUID) -> str:
    return f"device.{device_id}"


# --- recording ------------------------------------------------------------------------


@transaction.atomic(savepoint=False)
def record_events(drafts: Sequence[EventDraft]) -> None:
    """Number and keep the events of one state change; announce them on commit.

    Three statements and one announcement per user, however many events. Takes the row
    locks of all users concerned, in one order: call it once per transaction, last.
    """
    if not drafts:
        return
    by_user = _by_user(drafts)
    users = (
        User.objects.select_for_update(no_key=True)
        .filter(pk__in=by_user)
        .only("event_sequence", "event_generation")
        .order_by("pk")
    )
    heads: dict[int, Head] = {}
    events: list[AccountEvent] = []
    locked = list(users)
    for user in locked:
        numbered = _numbered(user, by_user[user.pk])
        events += numbered
        user.event_sequence += len(numbered)
        heads[user.pk] = Head(user.event_sequence, user.event_generation)
    User.objects.bulk_update(locked, ["event_sequence"])
    AccountEvent.objects.bulk_create(events)
    _announce_on_commit(heads)


def _by_user(drafts: Sequence[EventDraft]) -> dict[int, list[EventDraft]]:
    ids = {draft.account_id for draft in drafts if draft.account_id is not None}
    owners = dict(Account.objects.filter(pk__in=ids).values_list("pk", "user_id"))
    by_user: dict[int, list[EventDraft]] = defaultdict(list)
    for draft in drafts:
        user_id = draft.user_id
        if draft.account_id is not None:
            # An account that is being removed has nobody left to tell.
            user_id = owners.get(draft.account_id)
        if user_id is not None:
            by_user[user_id].append(draft)
    return by_user


def _numbered(user: User, drafts: list[EventDraft]) -> list[AccountEvent]:
    now = clock.now()
    return [
        AccountEvent(
            user=user,
            sequence=sequence,
            account_id=draft.account_id,
            kind=draft.kind,
            subject=draft.subject,
            created_at=now,
        )
        for sequence, draft in enumerate(drafts, user.event_sequence + 1)
    ]


# --- catching up ----------------------------------------------------------------------


def head_of(user_id: int) -> Head:
    sequence, generation = User.objects.values_list(
        "event_sequence", "event_generation"
    ).get(pk=user_id)
    return Head(sequence, generation)


def events_after(user: User, sequence: int, *, limit: int = PAGE) -> list[AccountEvent]:
    """The user's next events behind a cursor, oldest first."""
    events = AccountEvent.objects.filter(user=user, sequence__gt=sequence)
    return list(events.order_by("sequence")[:limit])


def catch_up(
    user: User, sequence: int, *, generation: UUID | None, limit: int = PAGE
) -> CatchUp:
    """What happened behind a browser's cursor, or that it has to fetch everything.

    It must refetch if its cursor is of another generation, lies in the future, or so
    far back that events behind it were pruned.
    """
    head = head_of(user.pk)
    if generation != head.generation or not 0 <= sequence <= head.sequence:
        return CatchUp(head, [], refetch=True)
    events = events_after(user, sequence, limit=limit)
    # Of an event that commits just now the head may not know yet, nor the other way
    # round; a gap right behind the cursor is what pruning leaves.
    if events and events[0].sequence != sequence + 1:
        return CatchUp(head, [], refetch=True)
    if not events and sequence < head.sequence:
        return CatchUp(head, [], refetch=True)
    return CatchUp(head, events, refetch=False)


# --- announcing -----------------------------------------------------------------------


class _Announcement:
    """One hook per transaction and savepoint, however often events were recorded."""

    def __init__(self, savepoints: frozenset[str]) -> None:
        self.savepoints = savepoints
        self.heads: dict[int, Head] = {}

    def __call__(self) -> None:
        send_to_groups(
            {user_group(pk): _heard(head) for pk, head in self.heads.items()}
        )


def _heard(head: Head) -> AccountEvents:
    return AccountEvents(
        type="account.events",
        sequence=head.sequence,
        generation=str(head.generation),
    )


def _announce_on_commit(heads: Mapping[int, Head]) -> None:
    announcement = _pending_announcement()
    if announcement is None:
        announcement = _Announcement(frozenset(connection.savepoint_ids))
        transaction.on_commit(announcement, robust=True)
    announcement.heads.update(heads)


def _pending_announcement() -> _Announcement | None:
    # A hook of an outer savepoint would survive the rollback of the present one.
    present = frozenset(connection.savepoint_ids)
    for hook in connection.run_on_commit:
        if isinstance(hook[1], _Announcement) and hook[1].savepoints == present:
            return hook[1]
    return None


def send_to_groups(messages: Mapping[str, Mapping[str, Any]]) -> None:
    """One Channels message to each group, now. Hints: a failure is logged, no more."""
    layer = get_channel_layer()
    if layer is None or not messages:
        return
    try:
        async_to_sync(_send_all)(layer, list(messages.items()))
    except (redis.RedisError, OSError) as error:
        logger.warning("groups not told", extra={"error": type(error).__name__})


async def _send_all(
    layer: BaseChannelLayer, waiting: list[tuple[str, Mapping[str, Any]]]
) -> None:
    while waiting:
        batch, waiting = waiting[:SENT_BATCH_SIZE], waiting[SENT_BATCH_SIZE:]
        await asyncio.gather(
            *(layer.group_send(group, dict(message)) for group, message in batch)
        )
