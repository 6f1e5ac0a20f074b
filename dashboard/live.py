"""The next batch of live updates for a browser's cursor.

A cursor of another generation, from the future, or more than ``TOO_FAR`` events behind is
answered with ``refetch``: the browser reloads the page's content and continues from there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from accounts.models import User
from accounts.services import catch_up
from dashboard import fragments

if TYPE_CHECKING:
    from dashboard.fragments import LiveFrame

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


@dataclass(frozen=True, slots=True)
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

    def to_json(self) -> str:
        return json.dumps(self.to_value(), separators=(",", ":"), ensure_ascii=False)


def next_batch(user_id: int, cursor: Cursor, *, zone: str, language: str) -> Batch:
    """Read and render the next events; call again while ``head < newest``."""
    found = catch_up(
        User(pk=user_id),
        cursor.sequence,
        generation=cursor.generation_id,
        limit=BATCH,
    )
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
            newest=max(newest, found.events[-1].sequence),
            frames=fragments.frames_for(user_id, events, zone=zone, language=language),
        )
        size = len(batch.to_json().encode())
        if size <= MAX_BATCH_BYTES:
            return batch
        fitting = max(1, len(events) * MAX_BATCH_BYTES // size)
        events = events[: min(fitting, len(events) - 1)]
    # A single event does not fit into a frame: let the browser reload the page.
    return Batch(generation, cursor.sequence, newest, newest, refetch=True)
