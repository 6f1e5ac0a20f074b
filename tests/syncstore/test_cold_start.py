"""An account comes to this server: its store is rebuilt from History."""

from __future__ import annotations

import importlib
import random
from datetime import timedelta

import pytest

from common import clock
from common.work_queue import session_pid
from syncstore import registry, services
from syncstore.models import ColdStart, StoreEntry, StoreUpdate
from syncstore.services.cold_start import LEASE
from tests.store_state import StoreState
from tests.syncstore.conftest import last_ids_of, log_of, state_of
from walletconnect.sync.store import StoreDelete, StoreSet


@pytest.fixture
def cold_start(store):
    return ColdStart.objects.get(account=store.account)


def many(count: int) -> list[StoreSet | StoreDelete]:
    drawn = random.Random(5)  # noqa: S311
    return [
        StoreDelete(f"k{drawn.randrange(60)}", each)
        if drawn.random() < 0.2
        else StoreSet(f"k{drawn.randrange(60)}", f"v{each}", each)
        for each in range(1, count + 1)
    ]


def test_everything_that_history_kept_is_replayed(archive, peer, store, cold_start):
    updates = many(450)
    archive.keep(store.topic, *(peer.message(each)[0] for each in updates))
    assert services.cold_start(cold_start.pk) is True
    expected = StoreState(updates)
    assert state_of(store) == expected.entries
    assert last_ids_of(store) == expected.last_ids
    cold_start.refresh_from_db()
    assert cold_start.state == ColdStart.State.DONE
    assert (cold_start.found, cold_start.replayed) == (450, 450)
    assert {source for *_, source in log_of(store)} == {"history"}
    # The store of preferences is asked about, too.
    pages = [query for query in archive.asked if query["topic"] == store.topic]
    assert len(pages) == 3
    assert {query["direction"] for query in archive.asked} == {"backward"}


def test_messages_of_the_mailbox_make_no_difference(archive, peer, store, cold_start):
    updates = many(50)
    archive.keep(store.topic, *(peer.message(each)[0] for each in updates))
    peer.send(*updates[20:])
    services.cold_start(cold_start.pk)
    assert state_of(store) == StoreState(updates).entries


def test_doing_it_again_changes_nothing(archive, peer, store, cold_start):
    archive.keep(store.topic, peer.message(StoreSet("k", "v", 1))[0])
    services.cold_start(cold_start.pk)
    before = list(StoreEntry.objects.values())
    assert services.cold_start(cold_start.pk) is False, "it is done"
    services.restart_cold_start(store.account)
    assert services.cold_start(cold_start.pk) is True
    assert list(StoreEntry.objects.values()) == before
    assert StoreUpdate.objects.count() == 1


def lease(**changes):
    ColdStart.objects.update(leased_until=clock.now() + LEASE, **changes)


def test_two_workers_replay_once(archive, peer, store, cold_start):
    lease(leased_by=session_pid())
    assert services.cold_start() is False
    assert not archive.asked


def test_a_replay_whose_worker_died_goes_on_at_once(archive, peer, store, cold_start):
    archive.keep(store.topic, peer.message(StoreSet("k", "v", 1))[0])
    # No process has so high a number.
    lease(leased_by=2**31 - 1)
    assert services.cold_start() is True
    assert state_of(store) == {"k": "v"}


def test_an_unreachable_history_server_is_tried_again(archive, peer, store, cold_start):
    archive.keep(store.topic, peer.message(StoreSet("k", "v", 1))[0])
    archive.status = 503
    services.cold_start(cold_start.pk)
    cold_start.refresh_from_db()
    assert cold_start.state == ColdStart.State.RUNNING
    assert "503" in cold_start.reason
    assert cold_start.next_attempt_at > clock.now()
    assert services.cold_start() is False
    archive.status = 200
    ColdStart.objects.update(next_attempt_at=clock.now())
    assert services.cold_start(cold_start.pk) is True
    cold_start.refresh_from_db()
    assert cold_start.reason == ""
    assert state_of(store) == {"k": "v"}


def test_a_replay_that_takes_too_long_ends_before_its_lease(
    archive, peer, store, cold_start, monkeypatch
):
    archive.keep(store.topic, peer.message(StoreSet("k", "v", 1))[0])
    with monkeypatch.context() as patch:
        patch.setattr(cold_start_module(), "BUDGET", timedelta(0))
        services.cold_start(cold_start.pk)
    cold_start.refresh_from_db()
    assert cold_start.state == ColdStart.State.RUNNING
    assert "too slow" in cold_start.reason
    assert (cold_start.leased_until, cold_start.found) == (None, 0)
    ColdStart.objects.update(next_attempt_at=clock.now())
    assert services.cold_start(cold_start.pk) is True
    assert state_of(store) == {"k": "v"}


def cold_start_module():
    # The package exports a function of the same name.
    return importlib.import_module("syncstore.services.cold_start")


def test_rubbish_in_the_archive_is_left_out(archive, peer, store, cold_start):
    archive.keep(
        store.topic,
        "not base64 !",
        peer.seal("not json")[0],
        peer.message(StoreSet("k", "v", 1))[0],
        peer.seal("{}")[0],
    )
    services.cold_start(cold_start.pk)
    assert state_of(store) == {"k": "v"}


def test_live_updates_are_applied_before_the_replay_ends(
    archive, peer, store, cold_start
):
    peer.send(StoreSet("k", "live", 10))
    archive.keep(store.topic, peer.message(StoreSet("k", "old", 5))[0])
    services.cold_start(cold_start.pk)
    assert state_of(store) == {"k": "live"}


def test_the_stores_owner_goes_on_once_after_the_replay(
    archive, peer, store, cold_start, monkeypatch
):
    received = []
    monkeypatch.setitem(
        registry._rebuilt_hooks, store.name, lambda each: received.append(each) or []
    )
    archive.status = 503
    services.cold_start(cold_start.pk)
    assert received == []
    archive.status = 200
    ColdStart.objects.update(next_attempt_at=clock.now())
    services.cold_start(cold_start.pk)
    services.cold_start(cold_start.pk)
    assert received == [store]


def test_pruning_keeps_the_lines_of_current_updates(peer, store):

    peer.send(StoreSet("k", "old", 1), StoreSet("k", "new", 2))
    StoreUpdate.objects.update(at=clock.now() - timedelta(days=100))
    assert services.prune_updates() == 1
    assert [line.rpc_id for line in StoreUpdate.objects.all()] == [2]
