"""JSON-RPC 2.0 as this protocol uses it: one object, never a batch.

Spec: clients/core/relay/relay-client-api.md.

Ids are numbers of 16 digits between clients and strings of 19 digits between a client and
its relay. An id is echoed with its JSON type and digits, so it stays `int` or `str`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    dump_json,
    malformed,
    parse_object,
    plain_line,
)

RpcId: TypeAlias = int | str

_MAX_ID_LENGTH: Final = 64
_MAX_METHOD_LENGTH: Final = 64
_MAX_REASON_LENGTH: Final = 512
_BIGINT = re.compile(r"(\d{1,20})n")


@dataclass(frozen=True, slots=True)
class JsonRpcRequest:
    id: RpcId
    method: str
    params: JsonObject = field(default_factory=dict, repr=False)

    def to_json(self) -> str:
        return dump_json(
            {
                "id": self.id,
                "jsonrpc": "2.0",
                "method": self.method,
                "params": self.params,
            }
        )


@dataclass(frozen=True, slots=True)
class JsonRpcResult:
    id: RpcId
    result: JsonValue = field(repr=False)

    def to_json(self) -> str:
        return dump_json({"id": self.id, "jsonrpc": "2.0", "result": self.result})


@dataclass(frozen=True, slots=True)
class JsonRpcError:
    """An error answer. `id` is None only when the request's id could not be read."""

    id: RpcId | None
    code: int
    message: str

    @classmethod
    def of(cls, request_id: RpcId | None, error: RemoteProtocolError) -> JsonRpcError:
        return cls(request_id, error.code.json_rpc_code, error.message)

    def to_json(self) -> str:
        error: JsonObject = {"code": self.code, "message": self.message}
        return dump_json({"id": self.id, "jsonrpc": "2.0", "error": error})


JsonRpcPayload: TypeAlias = JsonRpcRequest | JsonRpcResult | JsonRpcError


def parse(text: str | bytes) -> JsonRpcPayload:
    """One JSON-RPC object, or `RemoteProtocolError` with the id if that was readable."""
    members = parse_object(text, "JSON-RPC")
    rpc_id = _read_id(members.get("id"))
    if rpc_id is None and "error" not in members:
        raise malformed("JSON-RPC id")
    if members.get("jsonrpc") != "2.0":
        raise _fault("JSON-RPC version", rpc_id)
    if "method" in members and rpc_id is not None:
        method, params = members["method"], members.get("params", {})
        if not isinstance(method, str) or len(method) > _MAX_METHOD_LENGTH:
            raise _fault("JSON-RPC method", rpc_id)
        if not isinstance(params, dict):
            raise _fault("JSON-RPC params", rpc_id)
        return JsonRpcRequest(rpc_id, method, params)
    if "error" in members:
        if not isinstance(members["error"], dict):
            raise _fault("JSON-RPC error", rpc_id)
        code = members["error"].get("code")
        message = members["error"].get("message")
        if not isinstance(code, int) or isinstance(code, bool):
            raise _fault("JSON-RPC error", rpc_id)
        reason = message if isinstance(message, str) else ""
        return JsonRpcError(
            rpc_id, code, plain_line(reason, max_length=_MAX_REASON_LENGTH)
        )
    if "result" in members and rpc_id is not None:
        return JsonRpcResult(rpc_id, members["result"])
    raise _fault("JSON-RPC", rpc_id)


def acknowledged_id(rpc_id: RpcId) -> RpcId:
    """The id that an acknowledgement means.

    JavaScript peers turn a 19-digit number into a big integer and answer `"<digits>n"`.
    """
    if isinstance(rpc_id, str) and (match := _BIGINT.fullmatch(rpc_id)):
        return int(match[1])
    return rpc_id


def _read_id(value: JsonValue) -> RpcId | None:
    if isinstance(value, str) and len(value) <= _MAX_ID_LENGTH and value.isprintable():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return None


def _fault(what: str, rpc_id: RpcId | None) -> RemoteProtocolError:
    return RemoteProtocolError(
        ErrorCode.MALFORMED, f"malformed {what}", request_id=rpc_id
    )
