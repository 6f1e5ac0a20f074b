"""What an update changes, for the log: nothing secret, and never too much."""

from __future__ import annotations

import json

import pytest

from syncstore.diff import MASK, MAX_CHANGES, MAX_TEXT_LENGTH, changes_between

KEY = "0f" * 32


def test_changed_members_are_listed_with_both_values():
    old = {"a": 1, "b": {"c": "x", "d": [1]}, "gone": True, "same": None}
    new = {"a": 2, "b": {"c": "y", "d": [1, 2]}, "": {}, "same": None}
    assert changes_between(json.dumps(old), json.dumps(new)) == [
        {"path": "a", "old": "1", "new": "2"},
        {"path": "b.c", "old": "x", "new": "y"},
        {"path": "b.d", "old": "[1]", "new": "[1,2]"},
        {"path": "gone", "old": "true", "new": None},
        {"path": '""', "old": None, "new": "{}"},
    ]


@pytest.mark.parametrize(
    "value",
    [
        {"symKey": "short"},
        {"nested": {"password": "p"}},
        {"authToken": ["t"]},
        {"note": f"my key is {KEY}"},
        {"note": KEY.upper()},
        {"list": [KEY]},
    ],
)
def test_secrets_are_masked(value):
    (change,) = changes_between(None, json.dumps(value))
    assert change["new"] == MASK


def test_topics_and_addresses_are_shown():
    value = {"topic": KEY, "account": "eip155:1:0x" + "ab" * 20}
    shown = {
        each["path"]: each["new"] for each in changes_between(None, json.dumps(value))
    }
    assert shown == value


@pytest.mark.parametrize("text", [KEY, "not JSON", "[1]", '"text"', "1" * 5000])
def test_other_texts_are_only_described(text):
    (change,) = changes_between(None, text)
    assert change == {
        "path": "",
        "old": None,
        "new": f"text of {len(text)} characters",
    }


def test_large_values_are_cut():
    many = {f"m{number}": "x" * 1000 for number in range(500)}
    changes = changes_between(None, json.dumps(many))
    assert len(changes) == MAX_CHANGES + 1
    assert changes[-1]["new"] == f"+{500 - MAX_CHANGES}"
    assert all(len(each["new"]) <= MAX_TEXT_LENGTH for each in changes)


def test_control_characters_become_spaces():
    (change,) = changes_between(None, '{"a\\u0000b": "c\\u0000\\n"}')
    assert "\x00" not in change["path"] + change["new"]
