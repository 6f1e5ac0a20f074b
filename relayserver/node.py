"""A relay node from start to stop."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from typing import TYPE_CHECKING

from relayserver.connections.listener import Listener
from relayserver.delivery.hub import Hub

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any

    from common.limits import Limits

logger = logging.getLogger(__name__)


class RelayBroken(Exception):
    """The node ended because a part of it did."""


async def run_node(
    *,
    host: str,
    port: int,
    database: Mapping[str, Any],
    redis_url: str,
    limits: Limits,
    listening: Callable[[int], None],
    handed: socket.socket | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. ``listening`` is told the port.

    With ``handed``, a socket that listens already, ``host`` and ``port`` do not count.
    """
    _allow_many_connections()
    hub = Hub(database=database, redis_url=redis_url, limits=limits)
    listener = Listener(hub)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await hub.open()
    listening(await listener.open(host, port, handed=handed))
    await _either(stop, hub.broken)
    listener.stop_accepting()
    # Clients are answered before they are told to go elsewhere.
    await hub.finish()
    await listener.close()
    await hub.close()
    if hub.broken.is_set():
        raise RelayBroken


async def _either(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _allow_many_connections() -> None:
    """Every connection is an open file; what is usual is enough for a thousand."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
