"""Rebuilds the stores of an account that is new on this server, from History.

The relay delivers the mailbox and live messages of the store topics anyway, in any order
relative to the replay; the rule of the Sync API makes one state of all. The replay is a row
of a work queue: after a crash it runs again, which changes nothing. Until it is done the
account's history is incomplete, and the row has the reason.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction
from django.db.models import F

from accounts.services import EventDraft, EventKind, record_events
from common import clock
from common.backoff import Backoff
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from history import client
from history.client import HistoryUnavailable
from keychain.services import Holder, sym_keys
from syncstore import registry
from syncstore.models import ColdStart, Store, StoreUpdate
from syncstore.services.apply import Arrival, apply_updates, lock_stores
from syncstore.services.archive import archived_pages
from syncstore.services.enable import COLD_START_TASK
from walletconnect.crypto.keys import Topic
from walletconnect.notify.cold_start import replay_store
from walletconnect.relay.methods import Tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from accounts.models import Account

# What a device that joins later needs; from now on kept beyond its TTL.
ARCHIVED: Final = (Tag.NOTIFY_MESSAGE, Tag.SYNC_SET, Tag.SYNC_DELETE)
# Longer than a large account takes. The lease of a killed worker is freed at once.
LEASE: Final = timedelta(minutes=10)
# Threads cannot be ended from outside, so the replay itself ends before its lease.
BUDGET: Final = timedelta(minutes=9, seconds=30)
# Bounds how long the store is locked: about 0.1 s (docs/performance.md).
APPLY_BATCH_SIZE: Final = 1_000
# About a week of trying.
BACKOFF: Final = Backoff(first_s=5.0, max_s=600.0, max_attempts=1_000)
TOO_SLOW: Final = "the History Server is too slow: not read within 9.5 minutes"
KEY_MISSING: Final = "the store's key is no longer in the keychain"


class _Incomplete(Exception):
    """The replay cannot continue for a reason on our side."""


def cold_start(pk: int | None = None) -> bool:
    """Replay the stores of one due account; False if there was none.

    Several tasks replay accounts concurrently, fairly between users.
    """
    due = ColdStart.objects.filter(state=ColdStart.State.RUNNING)
    if pk is not None:
        due = due.filter(pk=pk)
    claimed = due.select_related("account").claim(
        1,
        owner="account__user_id",
        lease=LEASE,
        max_in_flight=settings.LIMITS.cold_starts,
    )
    if not claimed:
        return False
    # For another worker now, and for this one afterwards.
    _wake_if_due()
    row = claimed[0]
    give_up_at = clock.monotonic() + BUDGET.total_seconds()
    try:
        client.register(ARCHIVED)
        for store in row.account.stores.order_by("pk"):
            _replay(row, store, give_up_at=give_up_at)
    except HistoryUnavailable as error:
        _put_off(row, f"History Server: {error}")
    except _Incomplete as error:
        _put_off(row, str(error))
    else:
        _finish(row)
    _wake_if_due()
    return True


def _wake_if_due() -> None:
    if ColdStart.objects.due().exists():
        enqueue_on_commit(COLD_START_TASK)


@transaction.atomic
def restart_cold_start(account: Account) -> None:
    """Replay the account's history again from the beginning, on a user's request."""
    now = clock.now()
    rows = ColdStart.objects.filter(account=account)
    if rows.update(
        state=ColdStart.State.RUNNING,
        next_attempt_at=now,
        leased_until=None,
        leased_by=None,
        attempts=0,
        found=0,
        replayed=0,
        started_at=now,
        finished_at=None,
        reason="",
    ):
        enqueue_on_commit(COLD_START_TASK)
        record_events(_events(account.stores.all()))


def _replay(row: ColdStart, store: Store, *, give_up_at: float) -> None:
    """Fetch all messages, then apply them in ascending order of their ids, in batches."""
    topic = Topic(store.topic)
    store_key = sym_keys(Holder.WALLET, [topic]).get(topic)
    if store_key is None:
        raise _Incomplete(KEY_MISSING)
    messages: list[str] = []
    for page in archived_pages(topic):
        messages += page
        ColdStart.objects.filter(pk=row.pk).update(found=F("found") + len(page))
        if clock.monotonic() > give_up_at:
            raise _Incomplete(TOO_SLOW)
    updates = replay_store(messages, store_key)
    failpoint("cold_start.after_fetch")
    for start in range(0, len(updates), APPLY_BATCH_SIZE):
        if clock.monotonic() > give_up_at:
            raise _Incomplete(TOO_SLOW)
        piece = updates[start : start + APPLY_BATCH_SIZE]
        _apply(row, store, [Arrival(update) for update in piece])


@transaction.atomic
def _apply(row: ColdStart, store: Store, arrivals: list[Arrival]) -> None:
    applied = apply_updates(
        {store.pk: arrivals}, source=StoreUpdate.Source.HISTORY, log_repeats=False
    )
    ColdStart.objects.filter(pk=row.pk).update(replayed=F("replayed") + len(arrivals))
    record_events(applied.events)
    failpoint("cold_start.apply.before_commit")


@transaction.atomic
def _finish(row: ColdStart) -> None:
    stores = lock_stores(account_id=row.account_id)
    if not row.finish(state=ColdStart.State.DONE, finished_at=clock.now()):
        return
    events: list[EventDraft] = []
    for store in stores:
        events += registry.notify_rebuilt(store)
    record_events([*events, *_events(stores)])


@transaction.atomic
def _put_off(row: ColdStart, reason: str) -> None:
    over = BACKOFF.is_over(row.attempts)
    state = ColdStart.State.FAILED if over else ColdStart.State.RUNNING
    row.retry_later(BACKOFF, reason, state=state, found=0, replayed=0)
    record_events(_events(Store.objects.filter(account_id=row.account_id)))


def _events(stores: Iterable[Store]) -> list[EventDraft]:
    return [
        EventDraft(store.account_id, EventKind.SYNC, f"syncstore.store:{store.pk}")
        for store in stores
    ]
