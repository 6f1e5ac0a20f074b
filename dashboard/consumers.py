"""``/ws/device/``: the browser's live connection.

reliability.md, items 26 and 27. The origin was checked at the door (``notifyweb.doors``),
the session is a living device's, and only two frames are taken: ``resume`` (where the
browser stands) and ``ack`` (what it has shown). We send ``events``, ``heartbeat``,
``refetch`` and ``revoked``. Channels messages are hints that something is new; what it is
comes from the database, from the cursor on, so that a lost hint costs a heartbeat and
never a change.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError
from django.template.loader import render_to_string

from accounts import services as accounts
from dashboard import appearance
from dashboard.hub import hub
from dashboard.live import Cursor
from groundwork import clock

if TYPE_CHECKING:
    from accounts.models import Device
    from accounts.services import Head

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 15.0
# A browser that does not say what it has shown for so many changes, or so long, is closed.
WINDOW: Final = 1_000
ACK_WITHIN_S: Final = 30.0
LONGEST_FRAME: Final = 1_024
FRAMES_PER_HEARTBEAT: Final = 600
# How soon a change is tried again that the database would not give us.
RETRY_S: Final = 1.0

SIGNED_OUT: Final = 4401
MALFORMED: Final = 4400
SLOW: Final = 1013
TOO_MANY: Final = 1008


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
        self.known_head = 0
        self.acked = 0
        self.waiting_since: float | None = None
        self.frames_taken = 0
        self.pump: asyncio.Task[None] | None = None
        self.beat: asyncio.Task[None] | None = None

    # --- coming and going -------------------------------------------------------------

    async def connect(self) -> None:
        self.session_key = self.scope["session"].session_key or ""
        self.zone = appearance.zone_of(self.scope.get("cookies", {}))
        self.device = await self._living_device()
        await self.accept()
        if self.device is None:
            await self._say_revoked("")
            return
        groups = (
            accounts.user_group(self.device.user_id),
            accounts.device_group(self.device.pk),
        )
        self.groups = list(groups)
        for group in groups:
            await self.channel_layer.group_add(group, self.channel_name)
        self.beat = asyncio.create_task(self._heartbeats())

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
        self.known_head = max(self.known_head, self.cursor.sequence + 1)
        self._go_on()

    def _acknowledge(self, sequence: int) -> None:
        if self.cursor is not None and self.acked < sequence <= self.cursor.sequence:
            self.acked = sequence
            caught_up = self.acked == self.cursor.sequence
            self.waiting_since = None if caught_up else clock.monotonic()

    # --- what is new ------------------------------------------------------------------

    async def account_events(self, message: dict[str, Any]) -> None:
        """A hint of ``accounts``: the person's events go up to this number now."""
        self.known_head = max(self.known_head, int(message["sequence"]))
        self._go_on()

    def _go_on(self) -> None:
        if self.cursor is None or self.known_head <= self.cursor.sequence:
            return
        if self.pump is None or self.pump.done():
            self.pump = asyncio.create_task(self._send_what_is_new())

    async def _send_what_is_new(self) -> None:
        while self.cursor is not None and self.known_head > self.cursor.sequence:
            try:
                if not await self._send_batch(self.cursor):
                    return
            except DatabaseError as error:
                # Away for a moment; the browser still shows what it has.
                logger.warning(
                    "live batch put off", extra={"error": type(error).__name__}
                )
                await asyncio.sleep(RETRY_S)

    async def _send_batch(self, cursor: Cursor) -> bool:
        """Send the next batch; False when the browser has to say where it stands."""
        assert self.device is not None  # noqa: S101  (connect saw to it)
        if cursor.sequence - self.acked > WINDOW:
            await self.close(SLOW)
            return False
        batch = await hub.batch(self.device.user_id, cursor, zone=self.zone)
        if self.cursor is not cursor:
            # It resumed from elsewhere while this was made.
            return True
        self.known_head = batch.newest
        if batch.refetch:
            self.cursor = None
        elif not batch.is_empty:
            self.cursor = Cursor(cursor.generation, batch.head)
            if self.waiting_since is None:
                self.waiting_since = clock.monotonic()
        if batch.refetch or not batch.is_empty:
            await self._send(batch.to_value())
        return not batch.refetch

    async def device_revoked(self, message: dict[str, Any]) -> None:
        """A hint of ``accounts``: this device was signed out, and by which."""
        await self._say_revoked(str(message.get("by", "")))

    async def _say_revoked(self, by: str) -> None:
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
                await self._say_revoked("")
                return
            self.known_head = max(self.known_head, head.sequence)
            await self._send(
                {
                    "type": "heartbeat",
                    "head": head.sequence,
                    "generation": str(head.generation),
                }
            )
            self._go_on()

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
    if text is None or len(text) > LONGEST_FRAME:
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
