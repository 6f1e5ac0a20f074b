"""Notification channels: the ways by which a user learns of account events.

``record_events`` hands every recorded event to the registered channels. The live page is
one; an app adds its own by a subclass of ``Channel`` and ``register`` in
``AppConfig.ready``. docs/channels.md shows how.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from accounts.models import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Head:
    """How far a user's events go. A new generation makes every older cursor invalid."""

    sequence: int
    generation: UUID


class NewEvent(NamedTuple):
    """An ``AccountEvent`` that is being recorded; a model instance costs ten times as much."""

    user_id: int
    sequence: int
    account_id: int | None
    kind: EventKind
    subject: str


@dataclass(frozen=True, slots=True)
class UserEvents:
    """Events of one user that were recorded together, in the order of their numbers."""

    user_id: int
    head: Head
    events: Sequence[NewEvent]


class Channel(ABC):
    """One way of delivery. ``kinds`` are the events that it wants."""

    name: ClassVar[str]
    kinds: ClassVar[frozenset[EventKind]] = frozenset(EventKind)

    @abstractmethod
    def deliver(self, batches: Sequence[UserEvents]) -> None:
        """Take the events of one state change, grouped by user.

        Runs in the transaction of the change. A channel that must not lose anything
        writes rows of a work queue here; one that sends hints uses
        ``transaction.on_commit``. It must not use the network, and what it raises
        undoes the change.
        """


_channels: dict[str, Channel] = {}


def register(channel: Channel) -> None:
    """Add a channel; one of the same name is replaced."""
    _channels[channel.name] = channel


def unregister(name: str) -> None:
    del _channels[name]


def registered() -> list[Channel]:
    return list(_channels.values())


def deliver(batches: Sequence[UserEvents]) -> None:
    """Hand events to every channel that wants their kinds."""
    for channel in registered():
        wanted = [
            UserEvents(batch.user_id, batch.head, events)
            for batch in batches
            if (events := [each for each in batch.events if each.kind in channel.kinds])
        ]
        if wanted:
            channel.deliver(wanted)
