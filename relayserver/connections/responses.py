"""JSON-RPC frames of the relay, and answers in the order of their requests.

`@walletconnect/core` 2.10 takes the next frame for the answer to its request and hangs if
it belongs to another one, so an answer that is ready early waits for those before it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import orjson

from walletconnect.relay.frames import RelayErrorCode, relay_error_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from relayserver.connections.transport import Transport
    from walletconnect.errors import RemoteProtocolError
    from walletconnect.relay.rpc import RpcId


class RelayError(Exception):
    """The error of a refused request; ``tag`` is its machine-readable ``data`` member."""

    def __init__(self, code: RelayErrorCode, message: str, tag: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.tag = tag

    @classmethod
    def of(cls, error: RemoteProtocolError) -> RelayError:
        return cls(relay_error_code(error), error.message, error.code)


def busy() -> RelayError:
    return RelayError(
        RelayErrorCode.INTERNAL, "The relay cannot store this now", "unavailable"
    )


def result_frame(request_id: RpcId | None, result: bytes) -> bytes:
    """``result`` is JSON. The id keeps its type and its digits."""
    return b'{"id":%b,"jsonrpc":"2.0","result":%b}' % (orjson.dumps(request_id), result)


def error_frame(request_id: RpcId | None, error: RelayError) -> bytes:
    described = {"code": int(error.code), "message": error.message, "data": error.tag}
    return b'{"id":%b,"jsonrpc":"2.0","error":%b}' % (
        orjson.dumps(request_id),
        orjson.dumps(described),
    )


class Answer:
    """The answer of one request, in the order of its connection."""

    __slots__ = ("_answers", "frame", "request_id", "sent")

    def __init__(self, answers: Answers, request_id: RpcId | None) -> None:
        self._answers = answers
        self.request_id = request_id
        self.frame: bytes | None = None
        self.sent: Callable[[], None] | None = None

    def result(self, result: bytes, sent: Callable[[], None] | None = None) -> None:
        """Answer with JSON; ``sent`` is called when it was written to the socket."""
        self.frame = result_frame(self.request_id, result)
        self.sent = sent
        self._answers.flush()

    def error(self, error: RelayError) -> None:
        self.frame = error_frame(self.request_id, error)
        self._answers.flush()


class Answers:
    __slots__ = ("_open", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._open: deque[Answer] = deque()

    def expect(self, request_id: RpcId | None) -> Answer:
        """``request_id`` is None for a frame without a readable id."""
        answer = Answer(self, request_id)
        self._open.append(answer)
        return answer

    def flush(self) -> None:
        while self._open and (frame := self._open[0].frame) is not None:
            self._transport.send(frame, self._open.popleft().sent)
