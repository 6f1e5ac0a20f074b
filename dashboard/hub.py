"""What the live sockets of a process share: one subscription, one reader, one heartbeat.

A hint names users with new events. Their sockets are read for together, some tens of users in
one call, and sockets that show the same (user, cursor, time zone, language) get one text. A
heartbeat asks for all sockets that are due at once. A socket has no task, no subscription and
no query of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import DatabaseError

from accounts.services import LIVE_GROUP, heads_of_sessions
from common import clock
from dashboard.live import next_batches

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from accounts.services import Head
    from dashboard.live import Batch, Reader

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Wait before reading, so that events committed close together end up in one batch; and while
# reading follows reading, so that many users share a call.
GATHER_S: Final = 0.015
BUSY_GATHER_S: Final = 0.05
# Cursors in one call: enough to share its cost, few enough for the first to be sent soon.
MAX_READERS: Final = 50
# Calls at once. Each holds a thread of the sockets; others must still be able to connect.
MAX_CALLS: Final = 2
# Delay before another read after a database error.
RETRY_S: Final = 1.0
# Heartbeats due within this part of the interval are sent together, as many in one query.
TOGETHER: Final = 1 / 15
MAX_HEARTBEATS: Final = 500


class Socket(Protocol):
    user_id: int
    device_id: str
    session_key: str
    is_closed: bool

    @property
    def needs_read(self) -> bool: ...

    async def next_reader(self) -> Reader | None: ...

    async def take(self, reader: Reader, batch: Batch) -> None: ...

    async def account_events(self, message: Mapping[str, Any]) -> None: ...

    async def device_revoked(self, message: Mapping[str, Any]) -> None: ...

    async def check_pace(self) -> None: ...

    async def beat(self, head: Head | None) -> None: ...

    def read_again(self) -> None: ...

    async def fail(self, error: Exception) -> None: ...


class Hub:
    """The sockets of one event loop."""

    def __init__(self) -> None:
        # Sockets of each user, in the order in which they came.
        self._users: dict[int, dict[Socket, None]] = {}
        self._due: dict[Socket, None] = {}
        self._reading: set[Socket] = set()
        self._calls = asyncio.Semaphore(MAX_CALLS)
        self._read_at = float("-inf")
        # When a heartbeat is due, and after how long the next one.
        self._heartbeats: deque[tuple[float, float, Socket]] = deque()
        self._subscribing = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None
        self._gatherer: asyncio.Task[None] | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, socket: Socket, *, heartbeat_s: float) -> None:
        """Hints reach the socket once this returns."""
        await self._subscribe()
        self._users.setdefault(socket.user_id, {})[socket] = None
        self._heartbeats.append((clock.monotonic() + heartbeat_s, heartbeat_s, socket))
        if self._pulse is None or self._pulse.done():
            self._pulse = self._start(self._send_heartbeats())

    def remove(self, socket: Socket) -> None:
        """A socket that was not added may be removed, too."""
        of_user = self._users.get(socket.user_id, {})
        of_user.pop(socket, None)
        if not of_user:
            self._users.pop(socket.user_id, None)
        self._due.pop(socket, None)

    def wake(self, socket: Socket) -> None:
        """Read for this socket soon, if it still needs that."""
        if socket.is_closed:
            return
        self._due[socket] = None
        if self._gatherer is None or self._gatherer.done():
            self._gatherer = self._start(self._gather())

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        # The loop itself keeps only weak references.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- hints ------------------------------------------------------------------------

    async def _subscribe(self) -> None:
        async with self._subscribing:
            if self._listener is not None and not self._listener.done():
                return
            layer = get_channel_layer()
            assert layer is not None  # noqa: S101  (configured by the settings)
            channel = await layer.new_channel()
            await layer.group_add(LIVE_GROUP, channel)
            self._listener = self._start(self._listen(layer, channel))

    async def _listen(self, layer: Any, channel: str) -> None:
        while True:
            message = await layer.receive(channel)
            try:
                await self._pass_on(message)
            except Exception:
                # A lost hint costs time only: heartbeats name the newest event.
                logger.exception("a hint was not understood")

    async def _pass_on(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "account.events":
            for user_id, sequence in message["heads"]:
                events = {"type": message["type"], "sequence": sequence}
                for socket in list(self._users.get(user_id, ())):
                    await _guarded(socket, socket.account_events(events))
        elif message["type"] == "devices.revoked":
            for revoked in message["devices"]:
                for socket in list(self._users.get(revoked["user"], ())):
                    if socket.device_id == revoked["device"]:
                        await _guarded(socket, socket.device_revoked(revoked))

    # --- reading ----------------------------------------------------------------------

    async def _gather(self) -> None:
        while self._due:
            is_busy = clock.monotonic() - self._read_at < BUSY_GATHER_S
            await asyncio.sleep(BUSY_GATHER_S if is_busy else GATHER_S)
            due, self._due = self._due, {}
            shared: dict[Reader, list[Socket]] = {}
            for socket in due:
                # One that is read for is looked at again when that is done.
                if socket in self._reading or not socket.needs_read:
                    continue
                reader = await _guarded(socket, socket.next_reader())
                if reader is not None:
                    self._reading.add(socket)
                    shared.setdefault(reader, []).append(socket)
            waiting = list(shared.items())
            for start in range(0, len(waiting), MAX_READERS):
                await self._calls.acquire()
                part = dict(waiting[start : start + MAX_READERS])
                self._read_at = clock.monotonic()
                self._start(self._read_for(part))

    async def _read_for(self, shared: dict[Reader, list[Socket]]) -> None:
        sockets = [socket for each in shared.values() for socket in each]
        try:
            found = await self._batches(list(shared))
        finally:
            self._calls.release()
            self._reading.difference_update(sockets)
        if found is None:
            for socket in sockets:
                socket.read_again()
                asyncio.get_running_loop().call_later(RETRY_S, self.wake, socket)
            return
        for (reader, those), batch in zip(shared.items(), found, strict=True):
            for socket in those:
                if isinstance(batch, Exception):
                    await socket.fail(batch)
                    continue
                await _guarded(socket, socket.take(reader, batch))
                if socket.needs_read:
                    self.wake(socket)
            # What browsers send is not held up by what they are sent.
            await asyncio.sleep(0)

    async def _batches(self, readers: list[Reader]) -> list[Batch | Exception] | None:
        """None if the database failed: the pages stay usable meanwhile, and a restart of
        PostgreSQL must not make every open page reconnect at once."""
        try:
            return await database_sync_to_async(next_batches)(readers)
        except DatabaseError as error:
            logger.warning(
                "live batches postponed", extra={"error": type(error).__name__}
            )
            return None
        except Exception as error:
            return [error] * len(readers)

    # --- heartbeats -------------------------------------------------------------------

    async def _send_heartbeats(self) -> None:
        while self._heartbeats:
            due_at, interval, _ = self._heartbeats[0]
            await asyncio.sleep(max(0.0, due_at - clock.monotonic()))
            until = clock.monotonic() + interval * TOGETHER
            due: list[tuple[float, Socket]] = []
            while self._heartbeats and self._heartbeats[0][0] <= until:
                _, interval, socket = self._heartbeats.popleft()
                if not socket.is_closed:
                    due.append((interval, socket))
            for start in range(0, len(due), MAX_HEARTBEATS):
                part = due[start : start + MAX_HEARTBEATS]
                await self._beat([socket for _, socket in part])
            now = clock.monotonic()
            self._heartbeats += [
                (now + interval, interval, socket)
                for interval, socket in due
                if not socket.is_closed
            ]

    async def _beat(self, sockets: list[Socket]) -> None:
        for socket in sockets:
            await _guarded(socket, socket.check_pace())
        present = [socket for socket in sockets if not socket.is_closed]
        keys = {socket.session_key for socket in present}
        try:
            heads = await database_sync_to_async(heads_of_sessions)(keys)
        except DatabaseError:
            # The database may be restarting: skip this heartbeat, keep the sockets.
            return
        except Exception as error:
            for socket in present:
                await socket.fail(error)
            return
        for socket in present:
            await _guarded(socket, socket.beat(heads.get(socket.session_key)))


async def _guarded(socket: Socket, work: Coroutine[Any, Any, T]) -> T | None:
    """What fails for one socket closes that one and no other."""
    try:
        return await work
    except Exception as error:
        await socket.fail(error)
        return None


# A hub belongs to one event loop; tests run several in one process.
_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]
