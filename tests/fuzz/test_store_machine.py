"""Sync between this server and another wallet: any writes, lost order, repeats, late ones.

After everything has arrived everywhere, both hold the same store.
"""

from __future__ import annotations

import os

from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from common import clock
from messaging.models import InboxMessage
from syncstore.models import StoreUpdate
from syncstore.services import store_delete, store_set
from tests.store_state import StoreState
from tests.syncstore.conftest import (  # noqa: F401  # fixtures
    alice,
    keychain,
    last_ids_of,
    peer,
    published_on,
    state_of,
    store,
)
from walletconnect.sync.store import StoreDelete, StoreSet, next_id

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
KEYS = st.sampled_from(["a", "b"])
VALUES = st.sampled_from(["1", "2", ""])


def machine(person, row, wallet):
    class StoreMachine(RuleBasedStateMachine):
        @initialize()
        def begin(self):
            self.savepoint = transaction.atomic()
            self.savepoint.__enter__()
            # What the other wallet holds, and its updates in the order of their making.
            self.theirs = StoreState()
            self.sent = []
            self.received = 0

        @rule(key=KEYS, value=VALUES)
        def we_set(self, key, value):
            store_set(person.account.pk, row.name, {key: value}, device=person.device)

        @rule(key=KEYS)
        def we_delete(self, key):
            store_delete(person.account.pk, row.name, [key], device=person.device)

        @rule(key=KEYS, value=st.none() | VALUES)
        def they_write(self, key, value):
            last = self.theirs.last_ids.get(key, 0)
            update_id = next_id(clock.payload_id(), last)
            update = (
                StoreDelete(key, update_id)
                if value is None
                else StoreSet(key, value, update_id)
            )
            self.theirs.apply(update)
            # The bytes are sealed once: a repeat by the relay has the same ones.
            self.sent.append((update, wallet.message(update)))

        @rule(data=st.data())
        def some_of_theirs_arrive(self, data):
            """In any order, several at once, again and again."""
            if self.sent:
                chosen = data.draw(st.lists(st.sampled_from(self.sent), max_size=4))
                wallet.deliver(*(message for _, message in chosen))

        @rule(data=st.data())
        def the_same_update_comes_sealed_again(self, data):
            if self.sent:
                update, _ = data.draw(st.sampled_from(self.sent))
                wallet.send(update)

        @rule(data=st.data())
        def some_of_ours_arrive(self, data):
            ours = published_on(wallet)
            if ours:
                chosen = data.draw(st.lists(st.sampled_from(ours), max_size=4))
                for update in chosen:
                    self.theirs.apply(update)

        @rule(text=st.sampled_from(["", "{}", "null", '{"id":1}', "\ud7ff" * 9]))
        def nonsense_arrives(self, text):
            wallet.deliver(wallet.seal(text))

        @invariant()
        def ids_only_grow(self):
            if hasattr(self, "savepoint"):
                log = StoreUpdate.objects.filter(store=row, outcome="applied")
                for key, last in last_ids_of(row).items():
                    ids = log.filter(key=key).values_list("rpc_id", flat=True)
                    assert max(ids) == last
                failed = InboxMessage.objects.filter(state="failed")
                assert not failed.exclude(reason__startswith="malformed").exists()

        def teardown(self):
            if not hasattr(self, "savepoint"):
                return
            try:
                wallet.deliver(*(message for _, message in self.sent))
                for update in published_on(wallet):
                    self.theirs.apply(update)
                assert state_of(row) == self.theirs.entries
                assert last_ids_of(row) == self.theirs.last_ids
            finally:
                transaction.set_rollback(True)
                self.savepoint.__exit__(None, None, None)

    return StoreMachine


def test_both_sides_end_with_the_same_store(alice, store, peer):  # noqa: F811
    run_state_machine_as_test(
        machine(alice, store, peer),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=15,
            deadline=None,
            # Shrinking a failure would take minutes; its steps are printed as they are.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
