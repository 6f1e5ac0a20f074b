"""Who wins in a store. Vectors: sync_conflicts.json (sync-client 0.3.8, and the spec).

Both rules are tested: ours against the spec's columns, and a model of the released client's
rule against the client's, so that the difference between the two stays known.
"""

from __future__ import annotations

import json
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store_state import StoreState
from tests.walletconnect.people import iv
from tests.walletconnect.vectors import cases, load
from walletconnect.crypto.envelope import open_envelope
from walletconnect.crypto.keys import SymKey
from walletconnect.errors import LocalProtocolError, RemoteProtocolError
from walletconnect.relay.rpc import JsonRpcRequest, parse
from walletconnect.sync.store import (
    Outcome,
    StoreDelete,
    StoreSet,
    next_id,
    outcome_of,
    parse_update,
    publish_update,
)

VECTORS = load("sync_conflicts")
TOP = 2**53 - 1


class ClientOf2023:
    """sync-client 0.3.8: the newest id of the whole store decides, a tie replaces."""

    def __init__(self) -> None:
        self.state: dict[str, str] = {}
        self.updates: dict[str, str] = {}
        self.events = 0

    def receive(self, update) -> None:
        newest = max(map(int, self.updates), default=0)
        is_stale = update.id < newest
        if not is_stale:
            self.updates[str(update.id)] = update.key
            if isinstance(update, StoreSet):
                self.state[update.key] = update.value
            else:
                self.state.pop(update.key, None)
        # A stale delete still fires the event, a stale set does not.
        if not is_stale or isinstance(update, StoreDelete):
            self.events += 1


def updates_of(case: dict) -> list:
    return [parse_update(parse(json.dumps(event))) for event in case["events"]]


@pytest.mark.parametrize("case", cases(VECTORS))
def test_our_rule_is_the_specs(case):
    state = StoreState(updates_of(case))
    assert state.entries == case["spec_final_state"]
    assert state.last_ids == case["spec_tombstones"]


@pytest.mark.parametrize("case", cases(VECTORS))
def test_the_released_clients_rule_differs_as_in_the_vectors(case):
    client = ClientOf2023()
    for update in updates_of(case):
        client.receive(update)
    assert client.state == case["client_0_3_8_final_state"]
    assert client.updates == case["client_0_3_8_updates"]
    assert client.events == case["client_0_3_8_sync_update_events"]
    assert (StoreState(updates_of(case)).entries != client.state) is case["differs"]


@pytest.mark.parametrize(
    "case",
    [case for case in VECTORS["cases"] if "equal ids" not in case["name"]],
    ids=lambda case: case["name"],
)
def test_in_ascending_order_both_rules_agree(case):
    # That is how a replay from History is applied.
    client = ClientOf2023()
    for update in sorted(updates_of(case), key=lambda update: update.id):
        client.receive(update)
    assert client.state == case["spec_final_state"]


keys = st.sampled_from(["a", "b", "c"])
kinds = st.sampled_from([StoreSet, StoreDelete])


@st.composite
def histories(draw):
    """Updates with ids that are unique within the store, as honest devices make them."""
    made = []
    for number in draw(st.lists(st.integers(1, 60), unique=True, max_size=12)):
        if draw(kinds) is StoreSet:
            made.append(StoreSet(draw(keys), draw(st.text(max_size=3)), number))
        else:
            made.append(StoreDelete(draw(keys), number))
    return made


@given(histories(), st.data())
def test_any_order_and_any_repetition_give_the_same_state(updates, data):
    shuffled = data.draw(st.permutations(updates))
    again = data.draw(st.lists(st.sampled_from(updates), max_size=8)) if updates else []
    state = StoreState(sorted(updates, key=lambda each: each.id)).updates
    assert StoreState([*shuffled, *again]).updates == state
    assert StoreState([*again, *shuffled, *again]).updates == state


@given(histories())
def test_apply_returns_the_outcome(updates):
    state = StoreState()
    for update in updates:
        before = (state.entries, state.last_ids)
        last = state.last_ids.get(update.key)
        outcome = state.apply(update)
        assert outcome is outcome_of(update.id, last)
        if outcome is not Outcome.APPLIED:
            assert (state.entries, state.last_ids) == before
        assert state.apply(update) is (
            Outcome.STALE if outcome is Outcome.STALE else Outcome.DUPLICATE
        )


def test_of_equal_ids_the_first_stays():
    first, second = StoreSet("k", "first", 7), StoreSet("k", "second", 7)
    for one, two in permutations([first, second]):
        state = StoreState([one])
        assert state.apply(two) is Outcome.DUPLICATE
        assert state.entries == {"k": one.value}


@given(st.integers(1, TOP), st.integers(0, TOP - 1))
def test_a_local_write_always_wins(now_id, last_id):
    update_id = next_id(now_id, last_id)
    assert outcome_of(update_id, last_id) is Outcome.APPLIED
    assert update_id >= now_id


def test_ids_end_at_the_greatest_safe_integer():
    assert next_id(1, TOP - 1) == TOP
    with pytest.raises(LocalProtocolError):
        next_id(1, TOP)


@pytest.mark.parametrize(
    ("request_id", "params"),
    [
        (0, {"key": "k", "value": "v"}),
        (-1, {"key": "k", "value": "v"}),
        (2**53, {"key": "k", "value": "v"}),
        ("7", {"key": "k", "value": "v"}),
        (7, {"key": "k"}),
        (7, {"value": "v"}),
        (7, {"key": 1, "value": "v"}),
        (7, {"key": "k", "value": {"v": 1}}),
        (7, {"key": "k" * 513, "value": "v"}),
        (7, {"key": "k", "value": "v" * (128 * 1024 + 1)}),
    ],
)
def test_a_malformed_update_is_refused(request_id, params):
    with pytest.raises(RemoteProtocolError):
        parse_update(JsonRpcRequest(request_id, "wc_syncSet", params))


def test_another_method_is_refused():
    with pytest.raises(RemoteProtocolError):
        parse_update(JsonRpcRequest(7, "wc_syncClear", {"key": "k"}))


@pytest.mark.parametrize(
    ("update", "tag"),
    [(StoreSet("k", '{"symKey":"x"}', 7), 5000), (StoreDelete("k", 8), 5002)],
)
def test_an_update_is_published_on_the_topic_of_the_store(update, tag):
    key = SymKey(b"\x05" * 32)
    published = publish_update(update, key, iv=iv())
    assert (published.topic, published.tag) == (key.topic, tag)
    assert (published.ttl, published.prompt) == (2_592_000, False)
    assert parse_update(parse(open_envelope(published.message, key))) == update


def test_repr_hides_values():
    update = StoreSet("k", '{"symKey":"secret"}', 7)
    assert "secret" not in f"{update!r}"
