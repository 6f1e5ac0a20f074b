"""``/ws/device/``: the browser's live connection.

``notifyweb.asgi_middleware`` has checked the origin. The browser sends ``resume`` (its
cursor) and ``ack`` (the last event it has shown); the server sends ``events``,
``heartbeat``, ``refetch`` and ``revoked``. Channel-layer messages carry no content: they
only trigger a read of the database from the cursor on, so a lost one delays an update
until the next heartbeat but never drops it.

Any exception closes the socket with ``FAILED``; the browser reconnects and resumes from
its own cursor.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError
from django.template.loader import render_to_string
from django.utils import translation

from accounts import services as accounts
from common import clock
from dashboard import appearance
from dashboard.hub import hub
from dashboard.live import Cursor
from dashboard.open_sockets import address_of, open_sockets

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from accounts.models import Device
    from accounts.services import Head

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 15.0
# A browser that leaves this many events unacknowledged, or any event for ACK_WITHIN_S, is
# disconnected: it resumes from its cursor later instead of filling the send buffer.
WINDOW: Final = 1_000
ACK_WITHIN_S: Final = 30.0
MAX_FRAME_LENGTH: Final = 1_024
FRAMES_PER_HEARTBEAT: Final = 600
# Delay before another read after a database error.
RETRY_S: Final = 1.0

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


class DeviceConsumer(AsyncWebsocketConsumer):
    """One browser tab."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.device: Device | None = None
        self.session_key = ""
        self.zone = "UTC"
        self.language = settings.LANGUAGE_CODE
        self.cursor: Cursor | None = None
        # Set when there may be new events; cleared before the database is read, so that
        # a notification during the read causes another read.
        self.read_pending = False
        self.resume_unconfirmed = False
        self.acked = 0
        self.unacked_since: float | None = None
        self.frames_received = 0
        self.sender: asyncio.Task[None] | None = None
        self.heartbeat: asyncio.Task[None] | None = None

    # --- connect and disconnect -------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Runs until the browser disconnected.

        What the socket holds is released here and not in ``disconnect``: Daphne cancels a
        socket whose ``connect`` still waits five seconds after its browser went away, and
        leaving the groups fails without Redis. Neither reaches ``disconnect``.
        """
        try:
            await super().__call__(scope, receive, send)
        finally:
            open_sockets.remove(self)
            for task in (self.heartbeat, self.sender):
                if task is not None:
                    task.cancel()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Close the socket if a handler fails. Letting the exception through would end
        the consumer without ``disconnect``, and its tasks and groups would leak."""
        try:
            await super().dispatch(message)
        except StopConsumer:
            raise
        except Exception as error:
            await self._fail(error)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def close_on_failure() -> None:
            try:
                await work
            except Exception as error:
                await self._fail(error)

        return asyncio.create_task(close_on_failure())

    async def _fail(self, error: Exception) -> None:
        logger.error("live socket failed, closing it", exc_info=error)
        await self.close(FAILED)

    async def connect(self) -> None:
        self.session_key = self.scope["session"].session_key or ""
        self.zone = appearance.zone_of(self.scope.get("cookies", {}))
        self.language = appearance.language_of(self.scope)
        # Before anything that costs. Accepted first, because otherwise the page would not
        # receive the code.
        if not open_sockets.add(self, address_of(self.scope)):
            await self.accept()
            await self.close(TOO_MANY)
            return
        self.device = await self._active_device()
        await self.accept()
        if self.device is None:
            await self._send_revoked("")
            return
        if not open_sockets.assign(self, self.device.user_id):
            self.device = None
            await self.close(TOO_MANY)
            return
        groups = (
            accounts.user_group(self.device.user_id),
            accounts.device_group(self.device.pk),
        )
        self.groups = list(groups)
        for group in groups:
            await self.channel_layer.group_add(group, self.channel_name)
        self.heartbeat = self._start(self._send_heartbeats())

    # --- frames of the browser --------------------------------------------------------

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        self.frames_received += 1
        if self.frames_received > FRAMES_PER_HEARTBEAT:
            await self.close(TOO_MANY)
            return
        frame = _parse_frame(text_data)
        if frame is None or self.device is None:
            await self.close(MALFORMED)
        elif frame["type"] == "resume":
            self.cursor = Cursor.of(frame["generation"], frame["sequence"])
            self.acked = self.cursor.sequence
            self.unacked_since = None
            self.resume_unconfirmed = True
            self._schedule_read()
        elif (
            self.cursor is not None
            and self.acked < frame["sequence"] <= self.cursor.sequence
        ):
            self.acked = frame["sequence"]
            caught_up = self.acked == self.cursor.sequence
            self.unacked_since = None if caught_up else clock.monotonic()

    # --- events -----------------------------------------------------------------------

    async def account_events(self, message: dict[str, Any]) -> None:
        """From ``accounts``: the user's event log now ends at ``message["sequence"]``."""
        if self.cursor is not None and message["sequence"] > self.cursor.sequence:
            self._schedule_read()

    def _schedule_read(self) -> None:
        self.read_pending = True
        if self.sender is None or self.sender.done():
            self.sender = self._start(self._send_events())

    async def _send_events(self) -> None:
        while self.read_pending and self.cursor is not None:
            self.read_pending = False
            try:
                await self._send_batch(self.cursor)
            except DatabaseError as error:
                # The page stays usable meanwhile; a restart of PostgreSQL must not make
                # every open page reconnect at once.
                logger.warning(
                    "live batch postponed", extra={"error": type(error).__name__}
                )
                self.read_pending = True
                await asyncio.sleep(RETRY_S)

    async def _send_batch(self, cursor: Cursor) -> None:
        """Send the next batch. The cursor advances only after the batch was sent."""
        assert self.device is not None  # noqa: S101  (set by connect)
        if cursor.sequence - self.acked > WINDOW:
            await self.close(SLOW)
            return
        batch = await hub.batch(
            self.device.user_id, cursor, zone=self.zone, language=self.language
        )
        if self.cursor is not cursor:
            # The browser resumed from another cursor while this batch was rendered.
            self.read_pending = True
            return
        if batch.refetch:
            await self.send(text_data=batch.to_json())
            self.cursor = None
        elif not batch.is_empty:
            await self.send(text_data=batch.to_json())
            self.cursor = Cursor(cursor.generation, batch.head)
            if self.unacked_since is None:
                self.unacked_since = clock.monotonic()
            self.read_pending = self.read_pending or batch.newest > batch.head
        elif self.resume_unconfirmed:
            # Confirm at once that nothing was missed, so that the page shows "Live"
            # now and not up to HEARTBEAT_S later.
            await self._send_heartbeat(batch.newest, batch.generation)
        self.resume_unconfirmed = False

    async def device_revoked(self, message: dict[str, Any]) -> None:
        """From ``accounts``: this device was signed out by the device named in ``by``."""
        await self._send_revoked(str(message.get("by", "")))

    async def _send_revoked(self, by: str) -> None:
        context = {"by": by, "signin": settings.LOGIN_URL}
        with translation.override(self.language):
            html = render_to_string("live/signed_out.html", context)
        await self._send({"type": "revoked", "html": html})
        await self.close(SIGNED_OUT)

    # --- heartbeats -------------------------------------------------------------------

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self.frames_received = 0
            since = self.unacked_since
            if since is not None and clock.monotonic() - since > ACK_WITHIN_S:
                await self.close(SLOW)
                return
            try:
                head = await self._head_of_active_device()
            except DatabaseError:
                # The database may be restarting: skip this heartbeat, keep the socket.
                continue
            if head is None:
                await self._send_revoked("")
                return
            await self._send_heartbeat(head.sequence, str(head.generation))
            if self.cursor is not None and head.sequence > self.cursor.sequence:
                self._schedule_read()

    async def _send_heartbeat(self, head: int, generation: str) -> None:
        await self._send({"type": "heartbeat", "head": head, "generation": generation})

    @database_sync_to_async
    def _active_device(self) -> Device | None:
        return accounts.device_of_session(self.session_key)

    @database_sync_to_async
    def _head_of_active_device(self) -> Head | None:
        device = accounts.device_of_session(self.session_key)
        return None if device is None else accounts.head_of(device.user_id)

    async def _send(self, value: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(value, separators=(",", ":")))


def _parse_frame(text: str | None) -> Frame | None:
    """The frame, or None if the text is none."""
    if text is None or len(text) > MAX_FRAME_LENGTH:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    sequence = value.get("sequence")
    if not isinstance(sequence, int) or isinstance(sequence, bool):
        return None
    if value.get("type") == "resume" and isinstance(value.get("generation"), str):
        return Resume(type="resume", generation=value["generation"], sequence=sequence)
    if value.get("type") == "ack":
        return Ack(type="ack", sequence=sequence)
    return None
