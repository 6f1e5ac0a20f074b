"""JSON texts and values, read and written in one way.

`parse_json` refuses what JavaScript's `JSON.parse` refuses (NaN), lone surrogates, and deep
nesting.
`dump_json` writes what `JSON.stringify` writes for everything but fractions: compact,
members in insertion order, only `"`, `\\` and C0 controls escaped. Receipts hash such text,
so a test compares it with what Node prints. The `take_*` readers turn one member
of an object that a peer sent into a checked Python value.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

from walletconnect.errors import ErrorCode, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

JsonValue: TypeAlias = (
    "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
)
JsonObject: TypeAlias = "dict[str, JsonValue]"

MAX_SAFE_INTEGER: Final = 2**53 - 1
# orjson writes less deep than it reads: what could not be passed on is refused.
_MAX_DEPTH: Final = 32

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# JavaScript accepts half of a surrogate pair; PostgreSQL stores none.
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def malformed(what: str) -> RemoteProtocolError:
    """The error for `what`, a name of ours: never the peer's own text."""
    return RemoteProtocolError(ErrorCode.MALFORMED, f"malformed {what}")


def parse_json(text: str | bytes, what: str = "JSON") -> JsonValue:
    try:
        value: JsonValue = orjson.loads(text)
    except ValueError:
        raise malformed(what) from None
    if _may_be_deep(text) and _is_deep(value):
        raise malformed(what)
    return value


def _may_be_deep(text: str | bytes) -> bool:
    """Whether `text` has more than `_MAX_DEPTH` opening brackets, also within strings.

    Found one by one: to count those of a message of 16 KB takes 26 us, to find that there
    are few takes 1 us.
    """
    # The parser has refused texts that cannot be encoded.
    encoded = text.encode() if isinstance(text, str) else text
    found = 0
    for bracket in (b"{", b"["):
        at = encoded.find(bracket)
        while at >= 0:
            found += 1
            if found > _MAX_DEPTH:
                return True
            at = encoded.find(bracket, at + 1)
    return False


def _is_deep(value: JsonValue) -> bool:
    """Whether `value` nests more than `_MAX_DEPTH` objects and lists."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return bool(level)


def parse_object(text: str | bytes, what: str = "JSON object") -> JsonObject:
    value = parse_json(text, what)
    if not isinstance(value, dict):
        raise malformed(what)
    return value


def parse_document(body: bytes, what: str = "JSON object") -> JsonObject:
    """A JSON object that a web server published, as `response.json()` of a browser reads it.

    A byte order mark is dropped, and bytes that are not UTF-8 are replaced.
    """
    text = body.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise malformed(what) from None
    if not isinstance(value, dict) or (_may_be_deep(text) and _is_deep(value)):
        raise malformed(what)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def dump_json(value: JsonValue | Mapping[str, JsonValue]) -> str:
    # decode() also copies: orjson's own buffer would pin 8 KB per kept result.
    return orjson.dumps(value).decode()


def has_control_characters(text: str) -> bool:
    # Nearly all text is printable, and `isprintable` is the faster test. Some spaces of
    # other scripts are not printable in Python but allowed by the regular expression.
    return not text.isprintable() and _CONTROL.search(text) is not None


def plain_line(text: str, *, max_length: int) -> str:
    """`text` cut and made one line, for what is shown or kept but not trusted."""
    return _CONTROL.sub(" ", text[:max_length])


def shown_line(value: JsonValue, *, max_length: int) -> str:
    """A text that is only shown: cut and made one line; anything but a text is empty."""
    if not isinstance(value, str):
        return ""
    text = _LONE_SURROGATE.sub("\ufffd", value[:max_length])
    return _CONTROL.sub(" ", text).strip()


def require_object(value: JsonValue, what: str) -> JsonObject:
    if not isinstance(value, dict):
        raise malformed(what)
    return value


def require_text(value: JsonValue, what: str, *, max_length: int) -> str:
    """A string of at most `max_length` characters, without NUL: no database keeps that."""
    if not isinstance(value, str) or "\x00" in value:
        raise malformed(what)
    if len(value) > max_length:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, f"{what} is too long")
    return value


def require_line(value: JsonValue, what: str, *, max_length: int) -> str:
    """A string on one line, without control characters."""
    text = require_text(value, what, max_length=max_length)
    if has_control_characters(text):
        raise malformed(what)
    return text


def require_integer(
    value: JsonValue,
    what: str,
    *,
    minimum: int = 0,
    maximum: int = MAX_SAFE_INTEGER,
) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise malformed(what)
    if not minimum <= value <= maximum:
        raise malformed(what)
    return value


def take_line(members: Mapping[str, JsonValue], name: str, *, max_length: int) -> str:
    return require_line(members.get(name), name, max_length=max_length)


def take_optional_line(
    members: Mapping[str, JsonValue], name: str, *, max_length: int
) -> str | None:
    value = members.get(name)
    return None if value is None else require_line(value, name, max_length=max_length)


def take_integer(
    members: Mapping[str, JsonValue],
    name: str,
    *,
    minimum: int = 0,
    maximum: int = MAX_SAFE_INTEGER,
) -> int:
    return require_integer(members.get(name), name, minimum=minimum, maximum=maximum)


def take_object(members: Mapping[str, JsonValue], name: str) -> JsonObject:
    return require_object(members.get(name), name)


def take_list(
    members: Mapping[str, JsonValue], name: str, *, max_length: int
) -> list[JsonValue]:
    value = members.get(name)
    if not isinstance(value, list):
        raise malformed(name)
    if len(value) > max_length:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, f"{name} is too long")
    return value
