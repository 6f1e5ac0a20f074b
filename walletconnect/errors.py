"""Every error of the protocol core.

    ProtocolError
    ├── LocalProtocolError    we asked for what the spec forbids: a bug of ours, let it crash
    └── RemoteProtocolError   a peer sent what we cannot accept: answer an error, log at info

A `RemoteProtocolError` carries an `ErrorCode`. Its message may be sent to the peer and
never contains what the peer sent. All failed decryptions have one message, and so have all
failed signatures, so that errors reveal nothing about keys.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ErrorCode", "LocalProtocolError", "ProtocolError", "RemoteProtocolError"]


class ErrorCode(StrEnum):
    """Why something was refused. Logs, metrics and step records carry the value."""

    MALFORMED = "malformed"  # not the shape the spec prints
    TOO_LARGE = "too_large"  # the right shape, beyond a limit
    UNREADABLE = "unreadable"  # the envelope does not open
    UNAUTHENTIC = "unauthentic"  # a signature does not fit
    MISMATCH = "mismatch"  # genuine, but not meant for this receiver or purpose
    EXPIRED = "expired"  # its time is over
    CLOCK = "clock"  # issued in the future: one of the clocks is wrong
    OUTDATED = "outdated"  # overtaken by a newer statement of the same account
    UNAUTHORIZED = "unauthorized"  # genuine, but the account did not allow it
    UNSUPPORTED = "unsupported"  # a method or algorithm that we do not implement
    REFUSED = "refused"  # the peer answered with an error
    INTERNAL = "internal"  # our fault; the peer only learns that

    @property
    def json_rpc_code(self) -> int:
        """The number in a JSON-RPC error object."""
        return _JSON_RPC_CODES.get(self, _CLIENT_FAULT)


# The Notify servers of 2024 answer -1 for whatever the client did wrong.
_CLIENT_FAULT = -1

_JSON_RPC_CODES = {
    ErrorCode.INTERNAL: -32000,
    ErrorCode.UNSUPPORTED: -32601,
}


class ProtocolError(Exception):
    """Base of both sides' faults."""


class LocalProtocolError(ProtocolError):
    """Our own code asked for something that the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """A peer's bytes were refused.

    `request_id` is the JSON-RPC id, when it could be read before the fault was found,
    so that the fault can still be answered.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        request_id: int | str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
