"""One authenticated connection to a relay: requests with answers, deliveries in.

Spec: servers/relay/relay-server-rpc.md and relay-client-auth.md; protocol.md, section 8.
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
    from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest, RpcId

logger = logging.getLogger(__name__)
unexpected_frames = DropCounter(logger, "frames of the relay not understood")

# The library logs request lines, and ours hold a token.
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
    """The relay left a request without answer: the connection is as good as dead."""


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """Where a relay is, and as whose customer we come."""

    url: str
    project_id: str


class _Connect(connect):
    """Follows no redirect: the address holds a token for one relay only."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class RelayConnection:
    """Requests are pipelined; the relay answers them in its order, we match by id."""

    def __init__(self, websocket: ClientConnection, key: IdentityKey) -> None:
        self.client_id = key.did
        self._websocket = websocket
        self._waiting: dict[RpcId, asyncio.Future[JsonValue]] = {}

    async def request(self, method: str, params: JsonObject) -> JsonValue:
        """The result; raises ``RelayRefused``, ``RelayTimeout`` or ``ConnectionClosed``."""
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
        """Answer deliveries, many frames to one write."""
        for start in range(0, len(request_ids), ACKS_PER_WRITE):
            async with self._websocket.send_context():
                for request_id in request_ids[start : start + ACKS_PER_WRITE]:
                    answer = rpc.JsonRpcResult(request_id, result=True).to_json()
                    self._websocket.protocol.send_text(answer.encode())

    async def read(
        self, on_request: Callable[[JsonRpcRequest], Awaitable[None]]
    ) -> None:
        """Hand out frames until the connection ends, which raises."""
        while True:
            frame = await self._websocket.recv()
            try:
                payload = rpc.parse(frame)
            except ProtocolError:
                unexpected_frames.count("not JSON-RPC")
                continue
            if isinstance(payload, rpc.JsonRpcRequest):
                await on_request(payload)
            else:
                self._settle(payload)

    async def refuse(self, request: JsonRpcRequest) -> None:
        """Answer a request that a relay has no business to make."""
        unexpected_frames.count("unknown request")
        error = rpc.JsonRpcError(
            request.id, int(RelayErrorCode.UNKNOWN_METHOD), "unknown method"
        )
        await self._websocket.send(error.to_json())

    async def close(self) -> None:
        await self._websocket.close(GOING_AWAY, "going away")

    def _settle(self, payload: rpc.JsonRpcResult | JsonRpcError) -> None:
        answer = None if payload.id is None else self._waiting.get(payload.id)
        if answer is None or answer.done():
            unexpected_frames.count("answer to nothing")
        elif isinstance(payload, rpc.JsonRpcError):
            answer.set_exception(RelayRefused(payload.code, payload.message))
        else:
            answer.set_result(payload.result)


@asynccontextmanager
async def open_connection(
    address: RelayAddress, key: IdentityKey, *, largest_frame: int
) -> AsyncIterator[RelayConnection]:
    """Connect with a fresh token. Pings find a peer that vanished without a word."""
    async with _Connect(
        _address_with_token(address, key),
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


def _address_with_token(address: RelayAddress, key: IdentityKey) -> str:
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
            # Refusals come as close code 3000 with a reason, not as a bare status.
            "useOnCloseEvent": "true",
        }
    )
    separator = "&" if "?" in address.url else "?"
    return f"{address.url}{separator}{query}"
