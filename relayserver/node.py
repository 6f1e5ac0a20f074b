"""Runs a relay node from start to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from typing import TYPE_CHECKING

from common.listening import raise_file_limit
from relayserver.connections.listener import Listener
from relayserver.delivery.hub import Hub

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any

    from common.limits import Limits

logger = logging.getLogger(__name__)


class RelayBroken(Exception):
    """A background task of the node ended."""


async def run_node(
    *,
    host: str,
    port: int,
    database: Mapping[str, Any],
    redis_url: str,
    limits: Limits,
    listening: Callable[[int], None],
    inherited: socket.socket | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. ``listening`` is called with the port.

    With ``inherited``, a listening socket, ``host`` and ``port`` are ignored.
    """
    raise_file_limit()
    hub = Hub(database=database, redis_url=redis_url, limits=limits)
    listener = Listener(hub)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await hub.open()
    # Otherwise a tenth of the CPU time of a message goes into looking for garbage among the
    # objects of the loaded code.
    gc.collect()
    gc.freeze()
    listening(await listener.open(host, port, inherited=inherited))
    waits = [asyncio.create_task(event.wait()) for event in (stop, hub.broken)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    listener.stop_accepting()
    # Pending requests are answered before connections are closed.
    await hub.finish()
    await listener.close()
    await hub.close()
    if hub.broken.is_set():
        raise RelayBroken
