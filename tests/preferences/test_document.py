"""The merge rule: whatever the order, the repetition and the grouping, one document."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preferences.document import MAX_MUTES, canonical, merge, newest_author, parse
from walletconnect.errors import RemoteProtocolError

NOW = 1_800_000_000_000
DAY = 24 * 60 * 60 * 1000

registers = st.fixed_dictionaries(
    {
        "until": st.none() | st.integers(0, 10),
        "at": st.integers(0, 3),
        "by": st.sampled_from(["a", "b"]),
    },
    optional={"later": st.integers(0, 2)},
)
blocks = st.fixed_dictionaries(
    {
        "on": st.booleans(),
        "at": st.integers(0, 3),
        "by": st.sampled_from(["a", "b"]),
    }
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "mutes": st.dictionaries(st.sampled_from(["", "news", "gm"]), registers),
        "block": blocks,
        "unknown": st.integers(0, 2) | registers,
        "version": st.text(max_size=2),
    },
)


@given(documents, documents, documents)
def test_merging_is_commutative_associative_and_idempotent(a, b, c):
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a
    assert merge(merge(a, b), b) == merge(a, b)


@given(documents, documents)
def test_a_merged_document_is_valid_and_keeps_unknown_members(a, b):
    merged = merge(a, b)
    assert parse(canonical(merged), now_ms=NOW) == merged
    assert set(merged) == set(a) | set(b)


def test_the_later_change_wins_and_an_equal_time_is_decided_by_the_author():
    early = {"mutes": {"news": {"until": None, "at": 1, "by": "z"}}}
    late = {"mutes": {"news": {"until": 0, "at": 2, "by": "a"}}}
    assert merge(early, late) == late
    same = {"mutes": {"news": {"until": 5, "at": 2, "by": "b"}}}
    assert merge(late, same) == same
    assert newest_author(merge(early, same)) == "b"


def test_changes_of_different_places_are_both_kept():
    one = {"mutes": {"news": {"until": None, "at": 1, "by": "a"}}}
    other = {
        "mutes": {"gm": {"until": None, "at": 2, "by": "b"}},
        "block": {"on": True, "at": 1, "by": "b"},
    }
    assert merge(one, other) == {
        "mutes": {**one["mutes"], **other["mutes"]},
        "block": other["block"],
    }


def test_of_too_many_mutes_the_newest_are_kept():
    def mutes(names, at):
        return {"mutes": {name: {"until": None, "at": at, "by": "a"} for name in names}}

    old = mutes((f"old{n}" for n in range(MAX_MUTES)), 1)
    new = mutes((f"new{n}" for n in range(10)), 2)
    merged = merge(old, new)["mutes"]
    assert len(merged) == MAX_MUTES
    assert set(new["mutes"]) <= set(merged)


def register(**changes):
    return {"until": None, "at": NOW, "by": "a"} | changes


HOSTILE = {
    "not JSON": "muted",
    "a list": "[]",
    "null": "null",
    "deep": '{"a":' * 40 + "1" + "}" * 40,
    "NaN": '{"a": NaN}',
    "half a surrogate pair": '{"a": "\\ud800"}',
    "mutes as a list": {"mutes": []},
    "mute as a text": {"mutes": {"": "1h"}},
    "mute without an end": {"mutes": {"": {"at": NOW, "by": "a"}}},
    "end as a text": {"mutes": {"": register(until="never")}},
    "end before time": {"mutes": {"": register(until=-1)}},
    "end after all dates": {"mutes": {"": register(until=2**53 - 1)}},
    "end as a fraction": {"mutes": {"": register(until=1.5)}},
    "time as a text": {"mutes": {"": register(at="now")}},
    "time as a truth value": {"mutes": {"": register(at=True)}},
    "time far in the future": {"mutes": {"": register(at=NOW + DAY + 1)}},
    "greatest time": {"mutes": {"": register(at=2**53 - 1)}},
    "no author": {"mutes": {"": {"until": None, "at": NOW}}},
    "author with a line break": {"mutes": {"": register(by="a\nb")}},
    "long author": {"mutes": {"": register(by="a" * 129)}},
    "long type": {"mutes": {"t" * 65: register()}},
    "type with NUL": {"mutes": {"a\x00": register()}},
    "many mutes": {"mutes": {f"t{n}": register() for n in range(MAX_MUTES + 1)}},
    "block as a truth value": {"block": True},
    "block on as a number": {"block": {"on": 1, "at": NOW, "by": "a"}},
    "block from the future": {"block": {"on": True, "at": NOW + 2 * DAY, "by": "a"}},
    "types as a text": {"block": {"on": True, "at": NOW, "by": "a", "types": "all"}},
    "many types": {"block": {"on": True, "at": NOW, "by": "a", "types": ["t"] * 65}},
    "types as numbers": {"block": {"on": True, "at": NOW, "by": "a", "types": [1]}},
    "name as a number": {"block": {"on": True, "at": NOW, "by": "a", "name": 7}},
    "huge": {"unknown": "x" * 20_000},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_malformed_document_is_refused_as_a_whole(name):
    value = HOSTILE[name]
    with pytest.raises(RemoteProtocolError):
        parse(value if isinstance(value, str) else json.dumps(value), now_ms=NOW)
