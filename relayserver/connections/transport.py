"""The interface between sessions and the connections that carry their frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

# Close codes after which clients reconnect. Not 3000, after which they do not.
GOING_AWAY = 1001
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013


class Transport(Protocol):
    """Sends frames in the order of ``send``, which never waits and never raises.

    A transport that cannot keep up closes its connection; the messages stay in the mailbox.
    """

    def send(self, frame: bytes, sent: Callable[[], None] | None = None, /) -> None:
        """Queue a frame; ``sent`` is called once it was written to the socket."""

    def close(self, code: int, reason: str) -> None:
        """Start closing; later frames are dropped."""

    async def drained(self) -> None:
        """Wait until everything was written, or the connection is closed."""
