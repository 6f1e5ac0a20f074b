"""The relay's port: WebSockets on any path, and GET /health, /hello and /metrics."""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from websockets.asyncio.server import Server, ServerConnection, serve

from common.clients import address_behind, subnet_key
from relayserver.connections.connect_request import ConnectRefused, ConnectRequest
from relayserver.connections.connection import (
    ClientConnection,
    Reader,
    WebSocketTransport,
    is_handshake,
)
from relayserver.connections.handshakes import Handshakes
from relayserver.connections.transport import GOING_AWAY
from relayserver.metrics import RelayCollector

if TYPE_CHECKING:
    from websockets.http11 import Request, Response

    from relayserver.delivery.hub import Hub

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD")
REFUSED = 3000
MAX_REASON_LENGTH = 120
# Clients of 2023 close a connection without traffic after 31 seconds.
PING_INTERVAL_S = 24
PING_TIMEOUT_S = 30
OPEN_TIMEOUT_S = 10
RETRY_AFTER_S = 30
CLOSE_TIMEOUT_S = 5
# A host that vanished during a write gets no ping; the kernel gives up after this.
SILENT_PEER_MS = 60_000
WRITE_BUFFER_BYTES = 256 * 1024


class Listener:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._registry = CollectorRegistry()
        self._registry.register(RelayCollector(hub.counts, hub.present))
        ProcessCollector(namespace="relay", registry=self._registry)
        GCCollector(registry=self._registry)
        self._server: Server | None = None

    async def open(
        self, host: str, port: int, *, inherited: socket.socket | None = None
    ) -> int:
        """Listen, or use an inherited listening socket; returns the port."""
        address: dict[str, Any] = {"host": host, "port": port}
        if inherited is not None:
            address = {"sock": inherited}
        # The library logs an error for every handshake that a port scanner aborts.
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        max_frame = self._hub.limits.relay_frame_bytes
        new_connection = partial(
            ClientConnection,
            handshakes=Handshakes(self._hub.limits),
            max_frame=max_frame,
        )
        self._server = await serve(
            self._serve,
            **address,
            # Any factory will do; the library declares a class.
            create_connection=new_connection,  # type: ignore[arg-type]
            process_request=self._admit,
            compression=None,
            max_size=max_frame,
            write_limit=WRITE_BUFFER_BYTES,
            open_timeout=OPEN_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            server_header=None,
        )
        found: int = next(iter(self._server.sockets)).getsockname()[1]
        return found

    def stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close(close_connections=False)

    async def close(self) -> None:
        """Close every connection with 1001."""
        self.stop_accepting()
        if self._server is not None:
            closing = [each.close(GOING_AWAY) for each in self._server.connections]
            await asyncio.gather(*closing, return_exceptions=True)
            await self._server.wait_closed()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Before the handshake: answer plain HTTP, authenticate the client."""
        if request.method not in METHODS:
            response = connection.respond(
                HTTPStatus.METHOD_NOT_ALLOWED, "The relay accepts WebSockets and GET.\n"
            )
            response.headers["Allow"] = ", ".join(METHODS)
            return response
        page = self._page(connection, request)
        if page is not None:
            if request.method == "HEAD":
                page.body = b""
            return page
        authorization = request.headers.get_all("Authorization")
        if len(authorization) > 1:
            # Proxies disagree on which of two counts.
            return connection.respond(
                HTTPStatus.BAD_REQUEST, "Authorization is given more than once\n"
            )
        connect = ConnectRequest.read(
            request.path, authorization[0] if authorization else None
        )
        try:
            client = connect.admit()
        except ConnectRefused as refusal:
            self._hub.counts.connections_refused += 1
            if not connect.use_on_close_event:
                return connection.respond(refusal.status, f"{refusal.reason}\n")
            _ours(connection).refusal = refusal.reason[:MAX_REASON_LENGTH]
            return None
        peername = connection.remote_address
        forwarded = ",".join(request.headers.get_all("X-Forwarded-For"))
        peer = peername[0] if peername else ""
        address = subnet_key(address_behind(peer, forwarded=forwarded))
        if not self._hub.has_room(client, address):
            # A status and no close code: temporary, and cheaper than a handshake.
            self._hub.counts.connections_refused += 1
            response = connection.respond(
                HTTPStatus.TOO_MANY_REQUESTS, "Too many connections\n"
            )
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
            return response
        _ours(connection).client = client
        _ours(connection).address = address
        return None

    def _page(self, connection: ServerConnection, request: Request) -> Response | None:
        """The response to a request that is not a WebSocket handshake."""
        path = urlsplit(request.path).path
        if path == "/health":
            return self._health(connection)
        if path == "/metrics":
            return self._metrics(connection)
        if path == "/hello":
            return connection.respond(HTTPStatus.OK, "Hello, this is the relay.\n")
        if is_handshake(request) or (path in {"", "/"} and request.method == "GET"):
            return None
        return connection.respond(
            HTTPStatus.NOT_FOUND, "Only WebSockets, /health, /hello and /metrics.\n"
        )

    async def _serve(self, connection: ServerConnection) -> None:
        connection = _ours(connection)
        connection.end_handshake()
        if connection.client is None:
            await connection.close(REFUSED, connection.refusal)
            return
        tcp = connection.transport.get_extra_info("socket")
        if tcp is not None and tcp.family in {socket.AF_INET, socket.AF_INET6}:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_PEER_MS)
        transport = WebSocketTransport(connection, self._hub.counts)
        connection.frames = transport
        session = self._hub.connect(
            connection.client, transport, address=connection.address
        )
        try:
            await Reader(connection, session, self._hub.limits.relay_frames).read()
        finally:
            self._hub.disconnect(session)
            transport.forget()

    def _health(self, connection: ServerConnection) -> Response:
        ready = self._hub.is_ready
        body = {"status": "ok" if ready else "unavailable", **self._hub.present()}
        response = connection.respond(
            HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE,
            orjson.dumps(body).decode(),
        )
        return _typed(response, "application/json")

    def _metrics(self, connection: ServerConnection) -> Response:
        text = generate_latest(self._registry).decode()
        return _typed(connection.respond(HTTPStatus.OK, text), CONTENT_TYPE_LATEST)


def _ours(connection: ServerConnection) -> ClientConnection:
    if not isinstance(connection, ClientConnection):
        raise TypeError("not a connection of this server")
    return connection


def _typed(response: Response, content_type: str) -> Response:
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = content_type
    return response
