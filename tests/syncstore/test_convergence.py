"""Whatever order updates arrive in, however often: the store ends in one state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncstore.models import Store, StoreEntry, StoreUpdate
from syncstore.services.apply import Arrival, apply_updates
from tests.store_state import StoreState
from tests.syncstore.conftest import last_ids_of, log_of, state_of
from walletconnect.relay import rpc
from walletconnect.sync.store import StoreDelete, StoreSet, parse_update

CASES = json.loads(
    (Path(__file__).parent.parent / "vectors" / "sync_conflicts.json").read_text()
)["cases"]


def apply_all(store, updates):
    return apply_updates(
        {store.pk: [Arrival(update) for update in updates]},
        source=StoreUpdate.Source.RELAY,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize("at_once", [True, False], ids=["one batch", "one by one"])
def test_conflicts_end_as_specified(case, at_once, store):
    updates = [parse_update(rpc.parse(json.dumps(event))) for event in case["events"]]
    for batch in [updates] if at_once else [[update] for update in updates]:
        apply_all(store, batch)
    assert state_of(store) == case["spec_final_state"]
    assert last_ids_of(store) == case["spec_tombstones"]


KEYS = st.sampled_from(["a", "b", "c"])
# Two different updates of one key never share an id here: their wallets draw ids from a
# clock with a counter, and the spec gives such a pair no meaning.
UPDATES = st.lists(
    st.tuples(KEYS, st.integers(1, 60), st.booleans()),
    min_size=1,
    max_size=12,
    unique_by=lambda each: each[:2],
).map(
    lambda drawn: [
        StoreSet(key, f"{key}{update_id}", update_id)
        if sets
        else StoreDelete(key, update_id)
        for key, update_id, sets in drawn
    ]
)


# The store is set up once for all examples: each is rolled back.
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(updates=UPDATES, draw=st.data())
def test_any_order_and_repetition_gives_the_same_state(store, updates, draw):
    again = draw.draw(st.lists(st.sampled_from(updates), max_size=6))
    shuffled = draw.draw(st.permutations([*updates, *again]))
    cut = draw.draw(st.integers(0, len(shuffled)))
    expected = StoreState(updates)
    with transaction.atomic():
        apply_all(store, shuffled[:cut])
        apply_all(store, shuffled[cut:])
        assert state_of(store) == expected.entries
        assert last_ids_of(store) == expected.last_ids
        newest = Store.objects.get(pk=store.pk).last_id
        assert newest == max(expected.last_ids.values())
        transaction.set_rollback(True)


def test_the_log_has_the_outcome_of_each_update(store):
    first, second = StoreSet("k", "new", 20), StoreSet("k", "old", 10)
    apply_all(store, [first])
    apply_all(store, [second, first])
    assert log_of(store) == [
        ("k", 20, "applied", "relay"),
        ("k", 10, "stale", "relay"),
        ("k", 20, "duplicate", "relay"),
    ]
    previous = StoreUpdate.objects.order_by("pk").values_list("previous_id", flat=True)
    assert list(previous) == [None, 20, 20]


def test_a_batch_logs_every_update_but_writes_each_key_once(store):
    apply_all(store, [StoreSet("k", str(each), each) for each in range(1, 51)])
    assert StoreEntry.objects.count() == 1
    assert state_of(store) == {"k": "50"}
    assert {outcome for _, _, outcome, _ in log_of(store)} == {"applied"}
    assert len(log_of(store)) == 50


def test_a_batch_takes_as_many_statements_for_many_updates_as_for_one(
    store, django_assert_max_num_queries
):
    with django_assert_max_num_queries(10):
        apply_all(store, [StoreSet(f"k{each}", "v", each) for each in range(1, 301)])
    assert StoreEntry.objects.count() == 300


def test_an_id_far_ahead_is_applied_and_marked(store):
    apply_all(store, [StoreSet("k", "v", 2**53 - 1)])
    assert state_of(store) == {"k": "v"}
    assert "far ahead" in StoreUpdate.objects.get().reason


def test_values_are_sealed_for_their_key_only(store):
    from keychain.services import DecryptionFailed, open_sealed

    apply_all(store, [StoreSet("a", "secret of a", 1), StoreSet("b", "b", 2)])
    a, b = StoreEntry.objects.order_by("key")
    assert b"secret" not in bytes(a.sealed_value)
    with pytest.raises(DecryptionFailed):
        open_sealed(b.context, a.sealed_value)
