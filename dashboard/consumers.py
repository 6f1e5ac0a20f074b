"""``/ws/device/``: the browser's live connection.

The origin was checked before (``notifyweb.asgi_middleware``), the session belongs to an active
device, and only two frames are accepted: ``resume`` (the browser's cursor) and ``ack``
(what it has shown). We send ``events``, ``heartbeat``, ``refetch`` and ``revoked``.
Channels messages are hints that something is new; what it is comes from the database,
from the cursor on, so that a lost hint costs a heartbeat and never a change.

No part of a socket fails silently: whatever raises closes the socket with ``FAILED``, and
the browser connects again and resumes from its own cursor.
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

from accounts import services as accounts
from common import clock
from dashboard import appearance
from dashboard.hub import hub
from dashboard.live import Cursor

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from accounts.models import Device
    from accounts.services import Head

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 15.0
# A browser that does not say what it has shown for so many changes, or so long, is closed.
WINDOW: Final = 1_000
ACK_WITHIN_S: Final = 30.0
MAX_FRAME_LENGTH: Final = 1_024
FRAMES_PER_HEARTBEAT: Final = 600
# How soon a change is tried again that the database would not give us.
RETRY_S: Final = 1.0

# Close codes. An application may send only those from 4000 on: for 1008, 1011 or 1013
# Daphne raises and the socket stays open.
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


class DeviceConsumer(AsyncWebsocketConsumer):
    """One browser tab."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.device: Device | None = None
        self.session_key = ""
        self.zone = "UTC"
        self.cursor: Cursor | None = None
        # Set by whatever may have brought something new; cleared before the database is
        # read, so that a hint during the read leads to another one.
        self.must_read = False
        self.confirms_resume = False
        self.acked = 0
        self.waiting_since: float | None = None
        self.frames_taken = 0
        self.pump: asyncio.Task[None] | None = None
        self.beat: asyncio.Task[None] | None = None

    # --- coming and going -------------------------------------------------------------

    async def dispatch(self, message: dict[str, Any]) -> None:
        """A failing handler closes the socket instead of ending the consumer, which
        would leave its tasks and groups behind."""
        try:
            await super().dispatch(message)
        except StopConsumer:
            raise
        except Exception as error:
            await self._fail(error)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(self._close_on_failure(work))

    async def _close_on_failure(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            await self._fail(error)

    async def _fail(self, error: Exception) -> None:
        logger.error("live socket failed, closing it", exc_info=error)
        await self.close(FAILED)

    async def connect(self) -> None:
        self.session_key = self.scope["session"].session_key or ""
        self.zone = appearance.zone_of(self.scope.get("cookies", {}))
        self.device = await self._living_device()
        await self.accept()
        if self.device is None:
            await self._send_revoked("")
            return
        groups = (
            accounts.user_group(self.device.user_id),
            accounts.device_group(self.device.pk),
        )
        self.groups = list(groups)
        for group in groups:
            await self.channel_layer.group_add(group, self.channel_name)
        self.beat = self._start(self._heartbeats())

    async def disconnect(self, code: int) -> None:
        for task in (self.beat, self.pump):
            if task is not None:
                task.cancel()

    # --- what the browser says --------------------------------------------------------

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        self.frames_taken += 1
        if self.frames_taken > FRAMES_PER_HEARTBEAT:
            await self.close(TOO_MANY)
            return
        frame = _parsed(text_data)
        if frame is None or self.device is None:
            await self.close(MALFORMED)
        elif frame["type"] == "resume":
            await self._resume(frame)
        else:
            self._acknowledge(frame["sequence"])

    async def _resume(self, frame: Resume) -> None:
        self.cursor = Cursor.of(frame["generation"], frame["sequence"])
        self.acked = self.cursor.sequence
        self.waiting_since = None
        self.confirms_resume = True
        self._read_on()

    def _acknowledge(self, sequence: int) -> None:
        if self.cursor is not None and self.acked < sequence <= self.cursor.sequence:
            self.acked = sequence
            caught_up = self.acked == self.cursor.sequence
            self.waiting_since = None if caught_up else clock.monotonic()

    # --- what is new ------------------------------------------------------------------

    async def account_events(self, message: dict[str, Any]) -> None:
        """A hint of ``accounts``: the person's events go up to this number now."""
        if self.cursor is not None and message["sequence"] > self.cursor.sequence:
            self._read_on()

    def _read_on(self) -> None:
        self.must_read = True
        if self.pump is None or self.pump.done():
            self.pump = self._start(self._send_what_is_new())

    async def _send_what_is_new(self) -> None:
        while self.must_read and self.cursor is not None:
            self.must_read = False
            try:
                await self._send_batch(self.cursor)
            except DatabaseError as error:
                # Away for a moment; the browser still shows what it has.
                logger.warning(
                    "live batch put off", extra={"error": type(error).__name__}
                )
                self.must_read = True
                await asyncio.sleep(RETRY_S)

    async def _send_batch(self, cursor: Cursor) -> None:
        """Send the next batch. The cursor moves only once the batch was sent."""
        assert self.device is not None  # noqa: S101  (connect saw to it)
        if cursor.sequence - self.acked > WINDOW:
            await self.close(SLOW)
            return
        batch = await hub.batch(self.device.user_id, cursor, zone=self.zone)
        if self.cursor is not cursor:
            # It resumed from elsewhere while this was made.
            self.must_read = True
            return
        if batch.refetch:
            await self.send(text_data=batch.to_json())
            self.cursor = None
        elif not batch.is_empty:
            await self.send(text_data=batch.to_json())
            self.cursor = Cursor(cursor.generation, batch.head)
            if self.waiting_since is None:
                self.waiting_since = clock.monotonic()
            self.must_read = self.must_read or batch.newest > batch.head
        elif self.confirms_resume:
            # Nothing was missed: the browser learns so now, not with the next heartbeat.
            await self._send_heartbeat(batch.newest, batch.generation)
        self.confirms_resume = False

    async def device_revoked(self, message: dict[str, Any]) -> None:
        """A hint of ``accounts``: this device was signed out, and by which."""
        await self._send_revoked(str(message.get("by", "")))

    async def _send_revoked(self, by: str) -> None:
        context = {"by": by, "signin": settings.LOGIN_URL}
        html = render_to_string("live/signed_out.html", context)
        await self._send({"type": "revoked", "html": html})
        await self.close(SIGNED_OUT)

    # --- being alive ------------------------------------------------------------------

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self.frames_taken = 0
            if self._is_slow():
                await self.close(SLOW)
                return
            try:
                head = await self._head_if_alive()
            except DatabaseError:
                # The next one may have better luck; meanwhile say that we are there.
                continue
            if head is None:
                await self._send_revoked("")
                return
            await self._send_heartbeat(head.sequence, str(head.generation))
            if self.cursor is not None and head.sequence > self.cursor.sequence:
                self._read_on()

    async def _send_heartbeat(self, head: int, generation: str) -> None:
        await self._send({"type": "heartbeat", "head": head, "generation": generation})

    def _is_slow(self) -> bool:
        waited = self.waiting_since
        return waited is not None and clock.monotonic() - waited > ACK_WITHIN_S

    @database_sync_to_async
    def _living_device(self) -> Device | None:
        return accounts.device_of_session(self.session_key)

    @database_sync_to_async
    def _head_if_alive(self) -> Head | None:
        device = accounts.device_of_session(self.session_key)
        return None if device is None else accounts.head_of(device.user_id)

    async def _send(self, value: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(value, separators=(",", ":")))


def _parsed(text: str | None) -> Any:
    """A frame that we take, or None."""
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
