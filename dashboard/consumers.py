"""``/ws/device/``: the browser's live connection.

``notifyweb.asgi_middleware`` has checked the origin. The browser sends ``resume`` (its
cursor) and ``ack`` (the last event it has shown); the server sends ``events``,
``heartbeat``, ``refetch`` and ``revoked``. Hints of other processes carry no content: they
only trigger a read of the database from the cursor on, so a lost one delays an update
until the next heartbeat but never drops it.

Any exception closes the socket with ``FAILED``; the browser reconnects and resumes from
its own cursor.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from channels.db import database_sync_to_async
from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation

from accounts import services as accounts
from common import clock
from dashboard import appearance
from dashboard.hub import hub
from dashboard.live import Cursor, Reader
from dashboard.open_sockets import address_of, open_sockets
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import parse_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from accounts.models import Device
    from accounts.services import Head
    from dashboard.live import Batch

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 15.0
# A browser that leaves this many events unacknowledged, or any event for ACK_WITHIN_S, is
# disconnected: it resumes from its cursor later instead of filling the send buffer.
WINDOW: Final = 1_000
ACK_WITHIN_S: Final = 30.0
MAX_FRAME_LENGTH: Final = 1_024
FRAMES_PER_HEARTBEAT: Final = 600

# Close codes. Applications may only send 1000 and 3000-4999 (RFC 6455, section 7.4): for
# 1008, 1011 or 1013 Daphne raises and the socket stays open.
MALFORMED: Final = 4400
SIGNED_OUT: Final = 4401
SLOW: Final = 4408
TOO_MANY: Final = 4429
FAILED: Final = 4500


class Resume(TypedDict):
    type: Literal["resume"]
    generation: str
    sequence: int


class Ack(TypedDict):
    type: Literal["ack"]
    sequence: int


# All that a browser may send.
Frame = Resume | Ack


class DeviceConsumer:
    """One browser tab: a plain ASGI application, because what a Channels consumer adds (a
    subscription, a queue and two tasks for each message) costs more than the push itself.
    The ``hub`` of the process calls it."""

    def __init__(self, scope: Mapping[str, Any], send: Send) -> None:
        self.scope = scope
        self.session_key = scope["session"].session_key or ""
        self.zone = appearance.zone_of(scope.get("cookies", {}))
        self.language = appearance.language_of(scope)
        self.user_id = 0
        # Empty until the device is known.
        self.device_id = ""
        self.is_closed = False
        self.cursor: Cursor | None = None
        # Set when there may be new events, cleared before the database is read, so that a
        # hint during the read causes another one; and the newest event that hints named.
        self.read_pending = False
        self.newest = 0
        self.resume_unconfirmed = False
        self.acked = 0
        self.unacked_since: float | None = None
        self.frames_received = 0
        self._transmit = send

    @classmethod
    async def as_asgi(
        cls, scope: Mapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Runs until the browser disconnected.

        What the socket holds is released however that ends: Daphne cancels a socket whose
        ``connect`` still waits five seconds after its browser went away.
        """
        socket = cls(scope, send)
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                try:
                    await socket.dispatch(message)
                except Exception as error:
                    await socket.fail(error)
        finally:
            socket.is_closed = True
            hub().remove(socket)
            open_sockets.remove(socket)

    async def dispatch(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "websocket.connect":
            await self.connect()
        elif not self.is_closed:
            await self.receive(message.get("text"))

    async def fail(self, error: Exception) -> None:
        if not self.is_closed:
            logger.error("live socket failed, closing it", exc_info=error)
            await self.close(FAILED)

    async def close(self, code: int) -> None:
        if not self.is_closed:
            self.is_closed = True
            hub().remove(self)
            await self._transmit({"type": "websocket.close", "code": code})

    # --- connect ----------------------------------------------------------------------

    async def connect(self) -> None:
        # Before anything that costs. Accepted first, because otherwise the page would not
        # receive the code.
        if not open_sockets.add(self, address_of(self.scope)):
            await self._accept()
            await self.close(TOO_MANY)
            return
        device = await self._active_device()
        await self._accept()
        if device is None:
            await self._send_revoked("")
            return
        if not open_sockets.assign(self, device.user_id):
            await self.close(TOO_MANY)
            return
        self.user_id, self.device_id = device.user_id, str(device.pk)
        await hub().add(self, heartbeat_s=HEARTBEAT_S)

    async def _accept(self) -> None:
        await self._transmit({"type": "websocket.accept"})

    @database_sync_to_async
    def _active_device(self) -> Device | None:
        return accounts.device_of_session(self.session_key)

    # --- frames of the browser --------------------------------------------------------

    async def receive(self, text: str | None) -> None:
        self.frames_received += 1
        if self.frames_received > FRAMES_PER_HEARTBEAT:
            await self.close(TOO_MANY)
            return
        frame = _parse_frame(text)
        if frame is None:
            await self.close(MALFORMED)
        elif frame["type"] == "resume":
            self.cursor = Cursor.of(frame["generation"], frame["sequence"])
            self.acked = self.cursor.sequence
            self.unacked_since = None
            self.newest = 0
            self.resume_unconfirmed = True
            self.read_again()
            hub().wake(self)
        elif (
            self.cursor is not None
            and self.acked < frame["sequence"] <= self.cursor.sequence
        ):
            self.acked = frame["sequence"]
            caught_up = self.acked == self.cursor.sequence
            self.unacked_since = None if caught_up else clock.monotonic()

    # --- events -----------------------------------------------------------------------

    async def account_events(self, message: Mapping[str, Any]) -> None:
        """The user's event log now ends at ``message["sequence"]``."""
        self._learn(message["sequence"])

    def _learn(self, newest: int) -> None:
        if self.cursor is not None and newest > self.cursor.sequence:
            self.newest = max(self.newest, newest)
            self.read_again()
            hub().wake(self)

    def read_again(self) -> None:
        self.read_pending = True

    @property
    def needs_read(self) -> bool:
        return (
            self.read_pending
            and not self.is_closed
            and self.cursor is not None
            and (self.resume_unconfirmed or self.newest > self.cursor.sequence)
        )

    async def next_reader(self) -> Reader | None:
        """What to read for this socket; None, and it is closed, if it is too slow."""
        assert self.cursor is not None  # noqa: S101  (``needs_read``)
        if self.cursor.sequence - self.acked > WINDOW:
            await self.close(SLOW)
            return None
        self.read_pending = False
        return Reader(self.user_id, self.cursor, self.zone, self.language)

    async def take(self, reader: Reader, batch: Batch) -> None:
        """Send a batch. The cursor advances only after the batch was sent."""
        if self.is_closed:
            return
        if self.cursor != reader.cursor:
            # The browser resumed from another cursor while this batch was rendered.
            self.read_again()
            return
        if batch.refetch:
            await self.send(text_data=batch.text)
            self.cursor = None
        elif not batch.is_empty:
            await self.send(text_data=batch.text)
            self.cursor = Cursor(reader.cursor.generation, batch.head)
            if self.unacked_since is None:
                self.unacked_since = clock.monotonic()
            self._learn(batch.newest)
        elif self.resume_unconfirmed:
            # Confirm at once that nothing was missed, so that the page shows "Live"
            # now and not up to HEARTBEAT_S later.
            await self._send_heartbeat(batch.newest, batch.generation)
        self.resume_unconfirmed = False

    async def device_revoked(self, message: Mapping[str, Any]) -> None:
        """This device was signed out by the device named in ``by``."""
        await self._send_revoked(str(message.get("by", "")))

    async def _send_revoked(self, by: str) -> None:
        context = {"by": by, "signin": settings.LOGIN_URL}
        with translation.override(self.language):
            html = render_to_string("live/signed_out.html", context)
        await self._send({"type": "revoked", "html": html})
        await self.close(SIGNED_OUT)

    # --- heartbeats -------------------------------------------------------------------

    async def check_pace(self) -> None:
        """Before each heartbeat: close the socket if its browser acknowledges nothing."""
        self.frames_received = 0
        since = self.unacked_since
        if since is not None and clock.monotonic() - since > ACK_WITHIN_S:
            await self.close(SLOW)

    async def beat(self, head: Head | None) -> None:
        """A heartbeat; ``head`` is None if the session is no longer valid."""
        if self.is_closed:
            return
        if head is None:
            await self._send_revoked("")
            return
        await self._send_heartbeat(head.sequence, str(head.generation))
        self._learn(head.sequence)

    async def _send_heartbeat(self, head: int, generation: str) -> None:
        await self._send({"type": "heartbeat", "head": head, "generation": generation})

    async def _send(self, value: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(value, separators=(",", ":")))

    async def send(self, *, text_data: str) -> None:
        await self._transmit({"type": "websocket.send", "text": text_data})


def _parse_frame(text: str | None) -> Frame | None:
    """The frame, or None if the text is none."""
    if text is None or len(text) > MAX_FRAME_LENGTH:
        return None
    try:
        value = parse_json(text)
    except RemoteProtocolError:
        return None
    if not isinstance(value, dict):
        return None
    sequence = value.get("sequence")
    if not isinstance(sequence, int) or isinstance(sequence, bool):
        return None
    generation = value.get("generation")
    if value.get("type") == "resume" and isinstance(generation, str):
        return Resume(type="resume", generation=generation, sequence=sequence)
    if value.get("type") == "ack":
        return Ack(type="ack", sequence=sequence)
    return None
