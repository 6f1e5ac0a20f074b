"""One authenticated connection to a relay.

Spec: WalletConnect servers/relay/relay-server-rpc.md and relay-client-auth.md.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from websockets.asyncio.client import connect

from common import clock, entropy
from messaging.drop_counter import DropCounter
from walletconnect.errors import ProtocolError
from walletconnect.relay import rpc
from walletconnect.relay.auth import make_client_auth
from walletconnect.relay.frames import RelayErrorCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from websockets.asyncio.client import ClientConnection

    from walletconnect.crypto.signing import IdentityKey
    from walletconnect.json_values import JsonObject, JsonValue
    from walletconnect.relay.rpc import JsonRpcRequest, RpcId

logger = logging.getLogger(__name__)
unexpected_frames = DropCounter(logger, "unexpected frames from the relay")

# The library logs request lines, which contain our token.
_wire_logger = logging.getLogger(f"{__name__}.wire")
_wire_logger.setLevel(logging.WARNING)

USER_AGENT: Final = "wc-2/notifyweb"
OPEN_TIMEOUT_S: Final = 15.0
CLOSE_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 30.0
PING_INTERVAL_S: Final = 25.0
PING_TIMEOUT_S: Final = 30.0
FRAME_QUEUE: Final = 256
ACKS_PER_WRITE: Final = 200
GOING_AWAY: Final = 1001
NONCE_BYTES: Final = 32


class RelayRefused(Exception):
    """The relay answered a request with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def is_unknown_method(self) -> bool:
        return self.code == RelayErrorCode.UNKNOWN_METHOD


class RelayTimeout(Exception):
    """The relay did not answer a request in time; the connection is considered dead."""


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """The URL of a relay and our project id there."""

    url: str
    project_id: str


class _Connect(connect):
    """Follows no redirect, because the URL holds a token for one relay only."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class RelayConnection:
    """Requests are pipelined and their answers matched by id."""

    def __init__(self, websocket: ClientConnection, key: IdentityKey) -> None:
        self.client_id = key.did
        self._websocket = websocket
        self._waiting: dict[RpcId, asyncio.Future[JsonValue]] = {}

    async def request(self, method: str, params: JsonObject) -> JsonValue:
        """Send a request and return its result.

        Raises ``RelayRefused``, ``RelayTimeout`` or ``ConnectionClosed``.
        """
        request = rpc.JsonRpcRequest(clock.payload_id(), method, params)
        answer: asyncio.Future[JsonValue] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = answer
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._websocket.send(request.to_json())
                return await answer
        except TimeoutError:
            raise RelayTimeout(method) from None
        finally:
            self._waiting.pop(request.id, None)

    async def acknowledge(self, request_ids: list[RpcId]) -> None:
        """Answer deliveries, up to ``ACKS_PER_WRITE`` frames per write."""
        for start in range(0, len(request_ids), ACKS_PER_WRITE):
            async with self._websocket.send_context():
                for request_id in request_ids[start : start + ACKS_PER_WRITE]:
                    answer = rpc.JsonRpcResult(request_id, result=True).to_json()
                    self._websocket.protocol.send_text(answer.encode())

    async def read(
        self, on_request: Callable[[JsonRpcRequest], Awaitable[None]]
    ) -> None:
        """Read frames until the connection ends, which raises."""
        while True:
            frame = await self._websocket.recv()
            try:
                payload = rpc.parse(frame)
            except ProtocolError:
                unexpected_frames.count("not JSON-RPC")
                continue
            if isinstance(payload, rpc.JsonRpcRequest):
                await on_request(payload)
                continue
            answer = None if payload.id is None else self._waiting.get(payload.id)
            if answer is None or answer.done():
                unexpected_frames.count("answer without a request")
            elif isinstance(payload, rpc.JsonRpcError):
                answer.set_exception(RelayRefused(payload.code, payload.message))
            else:
                answer.set_result(payload.result)

    async def refuse(self, request: JsonRpcRequest) -> None:
        """Answer a request with "unknown method"."""
        unexpected_frames.count("unknown request")
        error = rpc.JsonRpcError(
            request.id, int(RelayErrorCode.UNKNOWN_METHOD), "unknown method"
        )
        await self._websocket.send(error.to_json())

    async def close(self) -> None:
        await self._websocket.close(GOING_AWAY, "going away")


@asynccontextmanager
async def open_connection(
    address: RelayAddress, key: IdentityKey, *, largest_frame: int
) -> AsyncIterator[RelayConnection]:
    """Connect with a new token. Pings detect a peer that vanished without closing."""
    token = make_client_auth(
        key,
        aud=address.url,
        now=clock.now_s(),
        nonce=bytes.fromhex(entropy.token_hex(NONCE_BYTES)),
    )
    query = urlencode(
        {
            "auth": token,
            "projectId": address.project_id,
            "ua": USER_AGENT,
            # Errors come as close code 3000 with a reason instead of a bare HTTP status.
            "useOnCloseEvent": "true",
        }
    )
    separator = "&" if "?" in address.url else "?"
    async with _Connect(
        f"{address.url}{separator}{query}",
        user_agent_header=USER_AGENT,
        compression=None,
        proxy=None,
        logger=_wire_logger,
        max_size=largest_frame,
        max_queue=FRAME_QUEUE,
        open_timeout=OPEN_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        ping_interval=PING_INTERVAL_S,
        ping_timeout=PING_TIMEOUT_S,
    ) as websocket:
        yield RelayConnection(websocket, key)
