"""Preferences for one dapp as JSON, and the rule by which two of them are merged.

    {"mutes": {"": {"until": 1767225600000, "at": 1767222000000, "by": "Firefox on example.org"},
               "news": {"until": null, "at": …, "by": …}},
     "block": {"on": true, "name": "Acme", "types": ["news"], "at": …, "by": …}}

A *register* is an object with ``at`` (milliseconds) and ``by`` (who set it). Of two registers
in one place the one with the later ``at`` wins, then the one with the greater ``by``, then
the one with the greater text. Merging is therefore commutative, associative and idempotent:
all devices reach one document, in whichever order they receive updates. Members that are
unknown here are merged by the same rule and passed on. docs/sync.md describes the format.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.json_values import (
    malformed,
    parse_object,
    require_integer,
    require_line,
    require_object,
    take_integer,
    take_line,
    take_list,
)

if TYPE_CHECKING:
    from walletconnect.json_values import JsonObject, JsonValue

MAX_DOCUMENT_LENGTH: Final = 16 * 1024
MAX_MUTES: Final = 64
MAX_TYPES: Final = 64
MAX_TYPE_LENGTH: Final = 64
MAX_NAME_LENGTH: Final = 128
MAX_AUTHOR_LENGTH: Final = 128
# The last millisecond that a date can have.
MAX_TIME_MS: Final = 253_402_300_799_999
# A register from further ahead would win over every change until then.
MAX_AHEAD_MS: Final = 24 * 60 * 60 * 1000
# ``until`` of a mute that was ended.
OFF: Final = 0


def parse(text: str, *, now_ms: int) -> JsonObject:
    """The document of a store value. Raises ``RemoteProtocolError``: it has no effect then."""
    if len(text) > MAX_DOCUMENT_LENGTH:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, "preferences are too long")
    document = parse_object(text, "preferences")
    if "mutes" in document:
        mutes = require_object(document["mutes"], "mutes")
        if len(mutes) > MAX_MUTES:
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, "there are too many mutes")
        for type_, value in mutes.items():
            require_line(type_, "type of a mute", max_length=MAX_TYPE_LENGTH)
            mute = _register(value, "mute", now_ms=now_ms)
            # Null is "until it is turned off", so the member must be there.
            if "until" not in mute:
                raise malformed("end of a mute")
            if mute["until"] is not None:
                require_integer(mute["until"], "end of a mute", maximum=MAX_TIME_MS)
    if "block" in document:
        block = _register(document["block"], "block", now_ms=now_ms)
        if not isinstance(block.get("on"), bool):
            raise malformed("block")
        if "name" in block:
            take_line(block, "name", max_length=MAX_NAME_LENGTH)
        if "types" in block:
            for each in take_list(block, "types", max_length=MAX_TYPES):
                require_line(each, "type of a block", max_length=MAX_TYPE_LENGTH)
    return document


def _register(value: JsonValue, what: str, *, now_ms: int) -> JsonObject:
    register = require_object(value, what)
    at = take_integer(register, "at")
    take_line(register, "by", max_length=MAX_AUTHOR_LENGTH)
    if at > now_ms + MAX_AHEAD_MS:
        raise RemoteProtocolError(
            ErrorCode.MALFORMED, f"the time of a {what} is in the future"
        )
    return register


def parse_stored(text: str) -> JsonObject:
    """A document that was checked before it was stored."""
    return parse_object(text) if text else {}


def canonical(value: JsonValue) -> str:
    """One text for equal values; everything beyond ASCII is escaped."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def merge(one: JsonObject, other: JsonObject) -> JsonObject:
    """The document with the newer register in every place."""
    merged: JsonObject = {}
    for name in one.keys() | other.keys():
        if name == "mutes":
            merged[name] = _newest(_newer_of_each(_mutes(one), _mutes(other)))
        else:
            merged |= _newer_of_each(
                {name: one[name]} if name in one else {},
                {name: other[name]} if name in other else {},
            )
    return merged


def _mutes(document: JsonObject) -> JsonObject:
    return require_object(document.get("mutes", {}), "mutes")


def _newer_of_each(one: JsonObject, other: JsonObject) -> JsonObject:
    return {
        name: max(
            (each[name] for each in (one, other) if name in each),
            key=_rank,
        )
        for name in one.keys() | other.keys()
    }


def _newest(mutes: JsonObject) -> JsonObject:
    """At most ``MAX_MUTES``: two valid documents may have more together."""
    if len(mutes) <= MAX_MUTES:
        return mutes
    ranked = sorted(mutes.items(), key=lambda item: (_rank(item[1]), item[0]))
    return dict(ranked[-MAX_MUTES:])


def _rank(value: JsonValue) -> tuple[int, str, str]:
    at, by = 0, ""
    if isinstance(value, dict):
        stated_at, stated_by = value.get("at"), value.get("by")
        at = stated_at if isinstance(stated_at, int) else 0
        by = stated_by if isinstance(stated_by, str) else ""
    return at, by, canonical(value)


def newest_author(document: JsonObject) -> str:
    """Who made the newest change of a parsed document."""
    registers = [*_mutes(document).values(), document.get("block")]
    newest = max(registers, key=_rank)
    return str(newest.get("by", "")) if isinstance(newest, dict) else ""
