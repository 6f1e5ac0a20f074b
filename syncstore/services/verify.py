"""Rebuilds stores from the archive and compares them with what is kept here.

The archive has what the relay accepted, so the comparison finds lost and forged rows on
either side. It changes nothing; ``restart_cold_start`` reads the archive into the stores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from accounts.services import EventDraft, EventKind, record_events
from common import clock
from common.backoff import Backoff
from common.wake import enqueue_on_commit
from common.work_queue import NO_WORK
from history.client import HistoryUnavailable
from keychain.services import DecryptionFailed, Holder, open_sealed, sym_keys
from messaging.models import OutboxMessage, Party
from syncstore.models import DeviceCursor, Store, StoreCheck, StoreEntry, StoreUpdate
from syncstore.services.archive import archived_pages
from syncstore.services.cold_start import LEASE
from walletconnect.crypto.keys import Topic
from walletconnect.notify.cold_start import replay_store
from walletconnect.sync.store import Outcome, StoreSet, outcome_of

if TYPE_CHECKING:
    from accounts.models import Account, Device
    from walletconnect.json_values import JsonObject, JsonValue
    from walletconnect.sync.store import StoreUpdate as Update

CHECK_TASK: Final = "syncstore.check_stores"
BACKOFF: Final = Backoff(first_s=5.0, max_s=60.0, max_attempts=5)
# What a page shows; the number of all is kept.
MAX_DIFFERENCES: Final = 200

MISSING_HERE: Final = "missing here"
OLDER_HERE: Final = "older here"
NOT_ARCHIVED: Final = "not in the archive"
VALUE_DIFFERS: Final = "value differs"
UNREADABLE: Final = "not readable here"


class CannotVerify(Exception):
    """A store cannot be compared; ``str`` is the reason."""


@dataclass(frozen=True, slots=True)
class Difference:
    """``here`` and ``archive`` are the ids of the last update of ``key``; None: none."""

    key: str
    kind: str
    here: int | None
    archive: int | None

    def to_value(self) -> JsonObject:
        # Ids as texts: JavaScript's numbers do not hold all of them.
        return {
            "key": self.key,
            "kind": self.kind,
            "here": None if self.here is None else str(self.here),
            "archive": None if self.archive is None else str(self.archive),
        }


@dataclass(frozen=True, slots=True)
class StoreReport:
    store: Store
    # Messages in the archive, keys there and keys here, with deleted ones.
    messages: int
    archived: int
    kept: int
    differences: list[Difference]

    def to_value(self) -> JsonObject:
        shown: list[JsonValue] = [
            each.to_value() for each in self.differences[:MAX_DIFFERENCES]
        ]
        return {
            "store": self.store.name,
            "topic": self.store.topic,
            "messages": self.messages,
            "archived": self.archived,
            "kept": self.kept,
            "differences": shown,
            "differenceCount": len(self.differences),
        }


def verify_store(store: Store) -> StoreReport:
    """Compare one store. Uses the network.

    Raises ``HistoryUnavailable`` or ``CannotVerify``.
    """
    topic = Topic(store.topic)
    store_key = sym_keys(Holder.WALLET, [topic]).get(topic)
    if store_key is None:
        raise CannotVerify("the store's key is no longer in the keychain")
    # Updates that arrive meanwhile must not look lost: what is here is read last, and
    # counts as equal or newer.
    messages = [each for page in archived_pages(topic) for each in page]
    archived: dict[str, Update] = {}
    for update in replay_store(messages, store_key):
        last = archived.get(update.key)
        if outcome_of(update.id, last.id if last else None) is Outcome.APPLIED:
            archived[update.key] = update
    unsent = OutboxMessage.objects.filter(
        party=Party.WALLET, topic=store.topic, state=OutboxMessage.State.DUE
    )
    is_sending = unsent.exists()
    kept: dict[str, StoreEntry] = {}
    for entry in StoreEntry.objects.filter(store=store).order_by("key"):
        entry.store = store
        kept[entry.key] = entry
    differences = [
        difference
        for key in sorted(archived.keys() | kept.keys())
        if (difference := _compare(key, kept.get(key), archived.get(key))) is not None
        and not (is_sending and difference.kind == NOT_ARCHIVED)
    ]
    return StoreReport(store, len(messages), len(archived), len(kept), differences)


def _compare(
    key: str, entry: StoreEntry | None, update: Update | None
) -> Difference | None:
    here = None if entry is None else entry.last_id
    there = None if update is None else update.id
    if entry is None or here is None:
        return Difference(key, MISSING_HERE, here, there)
    if update is None or here > update.id:
        return Difference(key, NOT_ARCHIVED, here, there)
    if here < update.id:
        return Difference(key, OLDER_HERE, here, there)
    try:
        value = (
            None
            if entry.is_deleted
            else open_sealed(entry.context, entry.sealed_value).decode()
        )
    except DecryptionFailed:
        return Difference(key, UNREADABLE, here, there)
    expected = update.value if isinstance(update, StoreSet) else None
    if value != expected:
        return Difference(key, VALUE_DIFFERS, here, there)
    return None


def verify_account(account: Account) -> list[StoreReport]:
    """Compare all stores of an account and keep the result. Uses the network.

    Raises ``HistoryUnavailable`` or ``CannotVerify``.
    """
    reports = [verify_store(store) for store in account.stores.order_by("pk")]
    now = clock.now()
    with transaction.atomic():
        StoreCheck.objects.update_or_create(
            account=account,
            defaults={
                **NO_WORK,
                "state": StoreCheck.State.DONE,
                "requested_at": now,
                "finished_at": now,
                "reason": "",
                "reports": [each.to_value() for each in reports],
            },
        )
        record_events(_events(account))
    return reports


def devices_behind(account: Account) -> list[Device]:
    """Active devices that have not applied the newest update of every store."""
    heads = dict(
        StoreUpdate.objects.filter(store__account=account)
        .values_list("store")
        .annotate(head=Max("pk"))
    )
    cursors = DeviceCursor.objects.filter(
        store__account=account, device__revoked_at=None
    ).select_related("device")
    behind = {
        cursor.device
        for cursor in cursors
        if cursor.update_pk < heads.get(cursor.store_id, 0)
    }
    return sorted(behind, key=lambda device: device.name)


# --- as work ----------------------------------------------------------------------------


@transaction.atomic
def request_check(account: Account) -> None:
    """Compare the account's stores soon; the result is in ``StoreCheck``."""
    now = clock.now()
    StoreCheck.objects.update_or_create(
        account=account,
        defaults={
            "state": StoreCheck.State.RUNNING,
            "next_attempt_at": now,
            "attempts": 0,
            "reason": "",
            "requested_at": now,
            "leased_until": None,
            "leased_by": None,
        },
    )
    enqueue_on_commit(CHECK_TASK)
    record_events(_events(account))


def check_due() -> bool:
    """Carry out one due check; False if there was none."""
    claimed = StoreCheck.objects.select_related("account").claim(
        1,
        owner="account__user_id",
        lease=LEASE,
        max_in_flight=settings.LIMITS.cold_starts,
    )
    if not claimed:
        return False
    row = claimed[0]
    try:
        reports = [verify_store(store) for store in row.account.stores.order_by("pk")]
    except (HistoryUnavailable, CannotVerify) as error:
        over = BACKOFF.is_over(row.attempts)
        state = StoreCheck.State.FAILED if over else StoreCheck.State.RUNNING
        with transaction.atomic():
            row.retry_later(BACKOFF, str(error), state=state)
            record_events(_events(row.account))
    else:
        with transaction.atomic():
            row.finish(
                state=StoreCheck.State.DONE,
                finished_at=clock.now(),
                reports=[each.to_value() for each in reports],
            )
            record_events(_events(row.account))
    return True


def _events(account: Account) -> list[EventDraft]:
    return [
        EventDraft(account.pk, EventKind.SYNC, f"syncstore.store:{store.pk}")
        for store in account.stores.order_by("pk")[:1]
    ]
