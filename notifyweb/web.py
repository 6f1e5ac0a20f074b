"""The web process: Daphne with a graceful shutdown.

Browser sockets are closed with 1001 ("going away"), after which they reconnect, and running
requests may finish, so that a restart is a short pause and not a failure.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import daphne.server
from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet import defer, reactor, task
from twisted.internet.tcp import Connection

from common.listening import inherited_socket, raise_file_limit
from notifyweb.web_connections import BodyFromFile, BodyQueue, WebFactory

if TYPE_CHECKING:
    import socket

logger = logging.getLogger(__name__)

GOING_AWAY = 1001
FRAME_BYTES = 64 * 1024
GRACE_S = 8.0
POLL_S = 0.05


class EagerWebSocket(WebSocketProtocol):  # type: ignore[misc] # Daphne is not typed
    """Writes a frame at once if nothing waits before it.

    Twisted queues what is written and lets epoll call it back, which takes longer than the
    rest of a push. What the kernel does not take is queued as usual.
    """

    def sendData(self, data: bytes, *queued: Any, **options: Any) -> None:
        transport = self.transport
        if (
            isinstance(transport, Connection)
            and transport.connected
            and not transport.disconnecting
            and not (transport.dataBuffer or transport._tempDataLen or self.send_queue)
            and not any((*queued, *options.values()))
        ):
            written = transport.writeSomeData(data)
            # Otherwise the connection is lost, which Twisted finds when it writes.
            if isinstance(written, int):
                data = data[written:]
        if data:
            super().sendData(data, *queued, **options)


# Daphne has no setting for it.
WebSocketFactory.protocol = EagerWebSocket


class GracefulServer(Server):  # type: ignore[misc] # Daphne is not typed
    """Lets requests and sockets finish, where Daphne would cancel them at once."""

    def listen_on(self, listening: socket.socket) -> None:
        """Serve on a socket that is already open instead of opening one.

        Daphne's own endpoint for this, ``fd:``, treats every socket as IPv4 and garbles
        the addresses of IPv6 clients.
        """
        self.endpoints: list[str] = []
        # Twisted accepts until the queue is empty; the reactor must not block on that.
        listening.settimeout(0)

        def adopt() -> None:
            port = reactor.adoptStreamPort(
                listening.fileno(), listening.family, self.http_factory
            )
            self.listeners.append(defer.succeed(port))

        # Called once the factory exists, before the reactor runs.
        self.ready_callable = adopt

    def create_application(self, protocol: Any, scope: Any) -> Any:
        queue = super().create_application(protocol, scope)
        if queue is None or scope["type"] != "http":
            return queue
        return BodyQueue(queue, protocol.content)

    async def handle_reply(self, protocol: Any, message: Any) -> None:
        await super().handle_reply(protocol, message)
        if message.get("more_body") and protocol.channel is not None:
            await protocol.channel.room_to_write()

    def kill_all_applications(self) -> defer.Deferred[None]:
        for listener in self.listeners:
            listener.addCallback(lambda port: port.stopListening())
        for protocol in list(self.connections):
            if isinstance(protocol, WebSocketProtocol):
                # ``sendClose`` accepts only 1000 and 3000-4999.
                protocol.sendCloseFrame(code=GOING_AWAY, isReply=False)

        return defer.ensureDeferred(self._end_applications())

    async def _end_applications(self) -> None:
        """Wait for what runs, then cancel the rest.

        Daphne's own method fails at a request that has not arrived in full, which has
        no application yet.
        """
        for _ in range(int(GRACE_S / POLL_S)):
            if not self._running():
                return
            await task.deferLater(reactor, POLL_S)
        cancelled = self._running()
        for application in cancelled:
            application.cancel()
        ended = asyncio.gather(*cancelled, return_exceptions=True)
        await defer.Deferred.fromFuture(ended)

    def _running(self) -> list[asyncio.Future[None]]:
        applications = [
            details.get("application_instance") for details in self.connections.values()
        ]
        return [each for each in applications if each is not None and not each.done()]


def serve(*, bind: str, port: int) -> None:
    from notifyweb import outer_errors
    from notifyweb.asgi import application, body_limit

    outer_errors.install()
    raise_file_limit()
    # Daphne makes the factory by this name and offers no other way.
    daphne.server.HTTPFactory = partial(WebFactory, body_limit.max_bytes_of)
    server = GracefulServer(
        application=BodyFromFile(application),
        endpoints=build_endpoint_description_strings(host=bind, port=port),
        server_name="",
        # A browser sends acknowledgements only. Autobahn applies the limit to what we send
        # as well: ``dashboard.live`` keeps its batches below it.
        websocket_max_message_size=FRAME_BYTES,
        websocket_max_frame_size=FRAME_BYTES,
        # Sockets end with their session, not after a fixed time.
        websocket_timeout=-1,
        application_close_timeout=5,
        verbosity=0,
    )
    listening = inherited_socket()
    if listening is not None:
        server.listen_on(listening)
    server.run()
