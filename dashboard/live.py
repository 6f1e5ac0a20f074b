"""The next batch of live updates for a browser's cursor.

A cursor of another generation, from the future, or more than ``TOO_FAR`` events behind is
answered with ``refetch``: the browser reloads the page's content and continues from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson
from django.db import DatabaseError

from accounts.models import User
from accounts.services import Position, catch_up_all
from dashboard import fragments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accounts.services import CatchUp, RecordedEvent
    from dashboard.fragments import LiveFrame, Loaded

# Small batches keep the first row on the screen fast and stay below MAX_BATCH_BYTES,
# also with texts as long as dapps may write them: a larger one is rendered twice.
BATCH: Final = 20
# 500 events are twenty batches; rendering the page once is cheaper than that.
TOO_FAR: Final = 500
# ``notifyweb.web`` limits WebSocket frames to 64 KiB; batches of long rows hold fewer events.
MAX_BATCH_BYTES: Final = 48 * 1024


@dataclass(frozen=True, slots=True)
class Cursor:
    """The browser's position in the event log. Unvalidated input."""

    generation: str
    sequence: int

    @classmethod
    def of(cls, generation: Any, sequence: Any) -> Cursor:
        text = str(sequence)
        is_number = text.isascii() and text.isdecimal() and len(text) < 19
        return cls(str(generation)[:64], int(text) if is_number else -1)

    @property
    def generation_id(self) -> UUID | None:
        try:
            return UUID(self.generation)
        except ValueError:
            return None


@dataclass(frozen=True)
class Batch:
    """The events after ``after`` up to ``head``; ``newest`` is the end of the log."""

    generation: str
    after: int
    head: int
    newest: int
    refetch: bool = False
    frames: list[LiveFrame] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.refetch and self.head == self.after

    def to_value(self) -> dict[str, Any]:
        if self.refetch:
            return {
                "type": "refetch",
                "generation": self.generation,
                "head": self.newest,
            }
        return {
            "type": "events",
            "generation": self.generation,
            "after": self.after,
            "head": self.head,
            "newest": self.newest,
            "frames": [frame.to_value() for frame in self.frames],
        }

    @cached_property
    def text(self) -> str:
        """As JSON, made once for all sockets that get it."""
        return orjson.dumps(self.to_value()).decode()


@dataclass(frozen=True, slots=True)
class Reader:
    """Who needs the events after a cursor, and how they are shown there. Sockets with equal
    values get the same batch."""

    user_id: int
    cursor: Cursor
    zone: str
    language: str


def next_batch(user_id: int, cursor: Cursor, *, zone: str, language: str) -> Batch:
    """Read and render the next events; call again while ``head < newest``."""
    found = next_batches([Reader(user_id, cursor, zone, language)])[0]
    if isinstance(found, Exception):
        raise found
    return found


def next_batches(readers: Sequence[Reader]) -> list[Batch | Exception]:
    """As ``next_batch`` for many, with as many queries as for one.

    What fails for one reader is returned in its place, so that the others get theirs; a
    failure of the database is raised.
    """
    found = catch_up_all(
        [
            Position(each.user_id, each.cursor.sequence, each.cursor.generation_id)
            for each in readers
        ],
        limit=BATCH,
    )
    events: dict[int, list[RecordedEvent]] = {}
    for reader, missed in zip(readers, found, strict=True):
        if missed is not None:
            events.setdefault(reader.user_id, []).extend(missed.events)
    loaded = fragments.load(events)
    return [
        _batch_or_failure(reader, missed, loaded)
        for reader, missed in zip(readers, found, strict=True)
    ]


def _batch_or_failure(
    reader: Reader, found: CatchUp | None, loaded: Loaded
) -> Batch | Exception:
    try:
        if found is None:
            raise User.DoesNotExist
        return _batch(reader, found, loaded)
    except DatabaseError:
        raise
    except Exception as error:
        return error


def _batch(reader: Reader, found: CatchUp, loaded: Loaded) -> Batch:
    cursor = reader.cursor
    generation = str(found.head.generation)
    newest = found.head.sequence
    if found.refetch or newest - cursor.sequence > TOO_FAR:
        return Batch(generation, cursor.sequence, newest, newest, refetch=True)
    if not found.events:
        return Batch(generation, cursor.sequence, cursor.sequence, newest)
    events = found.events
    while events:
        batch = Batch(
            generation=generation,
            after=cursor.sequence,
            head=events[-1].sequence,
            newest=newest,
            frames=fragments.frames_for(
                reader.user_id,
                events,
                zone=reader.zone,
                language=reader.language,
                loaded=loaded,
            ),
        )
        size = len(batch.text.encode())
        if size <= MAX_BATCH_BYTES:
            return batch
        fitting = max(1, len(events) * MAX_BATCH_BYTES // size)
        events = events[: min(fitting, len(events) - 1)]
    # A single event does not fit into a frame: let the browser reload the page.
    return Batch(generation, cursor.sequence, newest, newest, refetch=True)
