"""What the relay needs of a connection, whatever carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

# Close codes, protocol.md 8.1. All of these make clients connect again; 3000 never
# appears here, because current clients take it for the end.
GOING_AWAY = 1001
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013


class Transport(Protocol):
    """Frames go out in the order of ``send``, which never waits and never raises.

    An outlet that cannot keep up closes its connection: the mailbox has the messages.
    """

    def send(self, frame: bytes, sent: Callable[[], None] | None = None, /) -> None:
        """Write a frame soon; ``sent`` is called once it has gone to the socket."""

    def close(self, code: int, reason: str) -> None:
        """Begin to close; nothing more is sent."""

    async def drained(self) -> None:
        """Wait until everything was written, or the connection is closed."""
