"""JSON-RPC texts: what is read, what is refused, and that ids keep their digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.json_values import dump_json
from walletconnect.relay.rpc import (
    JsonRpcError,
    JsonRpcRequest,
    JsonRpcResult,
    acknowledged_id,
    parse,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
objects = st.dictionaries(texts, plain, max_size=4)
words = texts.filter(str.isprintable)
texts_ids = st.integers(-(2**63), 2**64 - 1) | words


@given(texts_ids, texts, objects)
def test_a_request_is_read_as_it_was_written(rpc_id, method, params):
    request = JsonRpcRequest(rpc_id, method, params)
    assert parse(request.to_json()) == request


@given(texts_ids, plain | objects)
def test_a_result_is_read_as_it_was_written(rpc_id, result):
    answer = JsonRpcResult(rpc_id, result)
    assert parse(answer.to_json()) == answer


@given(st.none() | texts_ids, st.integers(-40000, 40000), words)
def test_an_error_is_read_as_it_was_written(rpc_id, code, message):
    answer = JsonRpcError(rpc_id, code, message)
    assert parse(answer.to_json()) == answer


@pytest.mark.parametrize("rpc_id", ["1795385289118604288", 1795385289118604288, 1])
def test_an_id_keeps_its_type_and_digits(rpc_id):
    text = JsonRpcResult(rpc_id, result=True).to_json()
    assert dump_json({"id": rpc_id})[1:-1] in text
    assert type(parse(text).id) is type(rpc_id)


def test_big_integers_of_javascript_are_acknowledged():
    assert acknowledged_id("1795385289118604288n") == 1795385289118604288
    assert acknowledged_id("1795385289118604288") == "1795385289118604288"
    assert acknowledged_id("n") == "n"
    assert acknowledged_id(7) == 7


@pytest.mark.parametrize(
    ("text", "request_id"),
    [
        ("", None),
        ("null", None),
        ("[]", None),
        ('[{"id":1,"jsonrpc":"2.0","method":"x"}]', None),
        ('{"jsonrpc":"2.0","method":"x"}', None),
        ('{"id":null,"jsonrpc":"2.0","method":"x"}', None),
        ('{"id":true,"jsonrpc":"2.0","method":"x"}', None),
        ('{"id":1.5,"jsonrpc":"2.0","method":"x"}', None),
        ('{"id":{},"jsonrpc":"2.0","method":"x"}', None),
        ('{"id":"a\\u0000","jsonrpc":"2.0","method":"x"}', None),
        ('{"id":1,"method":"x"}', 1),
        ('{"id":1,"jsonrpc":"1.0","method":"x"}', 1),
        ('{"id":1,"jsonrpc":"2.0"}', 1),
        ('{"id":1,"jsonrpc":"2.0","method":7}', 1),
        ('{"id":1,"jsonrpc":"2.0","method":"x","params":[]}', 1),
        ('{"id":1,"jsonrpc":"2.0","error":"x"}', 1),
        ('{"id":1,"jsonrpc":"2.0","error":{"code":"x"}}', 1),
        ('{"id":"a","jsonrpc":"2.0","error":{"code":true}}', "a"),
        ('{"id":NaN,"jsonrpc":"2.0","method":"x"}', None),
        ('{"id":1,"jsonrpc":"2.0","result":"\\ud83d"}', None),
    ],
)
def test_invalid_json_rpc_is_refused_with_its_id_if_readable(text, request_id):
    with pytest.raises(RemoteProtocolError) as caught:
        parse(text)
    assert caught.value.code is ErrorCode.MALFORMED
    assert caught.value.request_id == request_id


def test_params_may_be_absent_and_messages_too_long():
    assert parse('{"id":1,"jsonrpc":"2.0","method":"x"}') == JsonRpcRequest(1, "x")
    error = parse(JsonRpcError(1, 3000, "x" * 9999).to_json())
    assert len(error.message) == 512
    assert parse(JsonRpcError(1, 1, "a\x00\nb").to_json()).message == "a  b"


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_arbitrary_input_is_refused_with_one_error(text):
    with pytest.raises(RemoteProtocolError):
        parse(text)


def test_an_error_of_ours_becomes_a_json_rpc_error():
    fault = RemoteProtocolError(ErrorCode.EXPIRED, "did-jwt has expired")
    assert JsonRpcError.of(7, fault) == JsonRpcError(7, -1, "did-jwt has expired")
    ours = RemoteProtocolError(ErrorCode.INTERNAL, "Internal server error")
    assert JsonRpcError.of(7, ours).code == -32000


def test_repr_hides_parameters():
    shown = repr(JsonRpcRequest(1, "x", {"a": "secret"})) + repr(
        JsonRpcResult(1, "secret")
    )
    assert "secret" not in shown


def test_a_text_to_be_hashed_is_javascripts():
    # The right side was printed by Node from the same object.
    value = {"b": "é😀\u2028", "a": '"\\/\n\x1b\x7f', "n": 1, "t": True, "z": None}
    assert dump_json({**value, "l": [1, "x"]}) == (
        '{"b":"é😀\u2028","a":"\\"\\\\/\\n\\u001b\x7f","n":1,"t":true,"z":null,"l":[1,"x"]}'
    )
