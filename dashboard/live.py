"""What a browser is sent next, given the number of the last change that it shows.

The cursor is the browser's; the truth is the database. A cursor of another generation, from
the future, or so far back that the page is cheaper than the rows, is answered with
``refetch``: load the content anew and go on from its number.
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

# Events that are rendered for one browser at once, and behind which it loads the page.
BATCH: Final = 25
TOO_FAR: Final = 500
# The web server refuses frames above 64 KiB (``notifyweb.web``), so a batch of long rows
# holds fewer events.
MAX_BATCH_BYTES: Final = 48 * 1024


@dataclass(frozen=True, slots=True)
class Cursor:
    """As the browser names it: anything may be in it."""

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
    """The next changes behind ``after``; ``newest`` is how far the person's events go."""

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


def next_batch(user_id: int, cursor: Cursor, *, zone: str) -> Batch:
    """Read and render what comes next. One batch; call again while it is behind."""
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
            frames=fragments.frames_for(user_id, events, zone=zone),
        )
        size = len(batch.to_json().encode())
        if size <= MAX_BATCH_BYTES:
            return batch
        fitting = max(1, len(events) * MAX_BATCH_BYTES // size)
        events = events[: min(fitting, len(events) - 1)]
    # A single change that is larger than a frame: only the page can show it.
    return Batch(generation, cursor.sequence, newest, newest, refetch=True)
