"""Requests and answers of the Notify API as messages, ready to publish.

Every one carries a single token under a name of its method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from walletconnect.crypto.envelope import seal
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.json_values import require_object
from walletconnect.relay.messages import Publication
from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest, JsonRpcResult

if TYPE_CHECKING:
    from walletconnect.crypto.keys import SymKey, Topic
    from walletconnect.json_values import JsonValue
    from walletconnect.relay.methods import Method
    from walletconnect.relay.rpc import RpcId


def publish_request(
    method: Method,
    token: str,
    *,
    request_id: RpcId,
    sym_key: SymKey,
    iv: bytes,
    topic: Topic | None = None,
    sender: bytes | None = None,
) -> Publication:
    """A request on the topic of `sym_key`, type 0.

    One of first contact has the `topic` of the receiver's public key and is of type 1, with
    the public key of its `sender`.
    """
    request = JsonRpcRequest(request_id, method.name, {method.param: token})
    return Publication(
        topic=topic or sym_key.topic,
        message=seal(request.to_json(), sym_key, iv=iv, sender=sender),
        tag=method.tag,
        ttl=method.ttl,
        prompt=method.prompt,
    )


def publish_result(
    method: Method,
    result: JsonValue,
    *,
    request_id: RpcId,
    sym_key: SymKey,
    iv: bytes,
) -> Publication:
    """The answer to a request, on the topic of `sym_key`."""
    answer = JsonRpcResult(request_id, result)
    return _publish_answer(method, answer, sym_key=sym_key, iv=iv)


def publish_error(
    method: Method,
    error: RemoteProtocolError,
    *,
    request_id: RpcId,
    sym_key: SymKey,
    iv: bytes,
) -> Publication:
    """The refusal of a request. Every released client stops waiting on it."""
    answer = JsonRpcError.of(request_id, error)
    return _publish_answer(method, answer, sym_key=sym_key, iv=iv)


def _publish_answer(
    method: Method,
    answer: JsonRpcResult | JsonRpcError,
    *,
    sym_key: SymKey,
    iv: bytes,
) -> Publication:
    return Publication(
        topic=sym_key.topic,
        message=seal(answer.to_json(), sym_key, iv=iv),
        tag=method.response_tag,
        ttl=method.response_ttl,
    )


def token_of_request(request: JsonRpcRequest, method: Method) -> JsonValue:
    """The token in a request. The method's name is not looked at: tags decide."""
    return request.params.get(method.param)


def token_of_answer(
    answer: JsonRpcResult | JsonRpcError, method: Method, *, request_id: RpcId
) -> JsonValue:
    """The token in the answer to request `request_id`; a refusal raises."""
    if answer.id != request_id:
        raise RemoteProtocolError(ErrorCode.MISMATCH, "answer to another request")
    if isinstance(answer, JsonRpcError):
        raise RemoteProtocolError(ErrorCode.REFUSED, answer.message or "refused")
    return require_object(answer.result, "result").get(method.result)
