"""Subscriptions that other wallets of the account made, changed and ended: steps 19, 20.

Spec: clients/core/sync; ``adopt_subscription`` in ``walletconnect.notify.subscribe``. The
store's content is untrusted: any device of the account, or a thief of its store key, can
write anything into it. An invalid entry stays in the store, since all devices hold the
same, but it is not adopted, and the sync log records why.

``syncstore`` holds the lock on the store while these functions run, and records events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.conf import settings

from accounts.services import EventDraft, EventKind, audit
from common import clock
from common.wake import enqueue_on_commit
from messaging import outbox
from messaging.models import Party
from subscriptions.models import (
    MIRRORED_FIELDS,
    SubscribeAttempt,
    Subscription,
    SubscriptionJob,
)
from subscriptions.services.dapps.documents import (
    authentication_dids,
    normalize_dapp_url,
)
from subscriptions.services.deletes import BY_WALLET, end_subscriptions
from subscriptions.services.errors import DappUnusable
from subscriptions.services.messages.messages import LEARN_TASK
from subscriptions.services.subscribe.attempts import State, move
from subscriptions.services.wallet import (
    attempt_event,
    describe,
    keep_notify_keys,
    notify_keys,
    store_entries,
    subscription_event,
)
from syncstore.models import StoreUpdate
from syncstore.registry import AppliedUpdate, Consequences
from syncstore.services import known_keys, store_set
from walletconnect.crypto.keys import Topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.notify.subscribe import adopt_subscription
from walletconnect.sync.store import StoreSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncstore.models import Store
    from walletconnect.notify.values import NotifySubscription

REPLAY_TASK: Final = "subscriptions.replay_history"
_REVIVED_FIELDS: Final = [
    *MIRRORED_FIELDS,
    "dapp_authentication_did",
    "added_by",
    "device",
    "deleted_at",
    "delete_reason",
]
_CHANGED_FIELDS: Final = [
    *MIRRORED_FIELDS,
    "dapp_authentication_did",
    "changed_by",
    "changed_at",
]


def adopt(store: Store, applied: list[AppliedUpdate]) -> Consequences:
    """Mirror the store's new content; in the transaction of the apply."""
    rows = Subscription.objects.locked().filter(
        account_id=store.account_id, topic__in=[update.key for update in applied]
    )
    known = {row.topic: row for row in rows}
    active = Subscription.objects.active().filter(account_id=store.account_id)
    room = settings.LIMITS.subscriptions_per_account - active.count()
    notes: dict[str, str] = {}
    values: list[NotifySubscription] = []
    new: list[Subscription] = []
    revived: list[Subscription] = []
    changed: list[Subscription] = []
    ended: list[Subscription] = []
    for update in applied:
        row = known.get(update.key)
        is_active = row is not None and row.deleted_at is None
        if update.value is None:
            if row is not None and is_active:
                notes[update.key] = f"{row}: unsubscribed"
                ended.append(row)
            else:
                notes[update.key] = "unsubscribed; it was not here"
            continue
        try:
            value = adopt_subscription(
                StoreSet(update.key, update.value, update.rpc_id),
                AccountId.parse(store.account.address),
                now=clock.now_s(),
            ).subscription
            # Documents of an unusable address are never read, so none of its
            # notifications could be verified; and it would stay in the queue of
            # documents to read.
            normalize_dapp_url(value.metadata.url)
        except (RemoteProtocolError, DappUnusable) as error:
            notes[update.key] = f"not adopted: {error}"
            continue
        if row is not None and is_active:
            if _mirror_change(row, value):
                changed.append(row)
        elif room <= 0:
            notes[update.key] = "not adopted: the account has too many subscriptions"
            continue
        else:
            if row is None:
                row = Subscription(account=store.account, created_at=clock.now())
                new.append(row)
            else:
                revived.append(row)
            row.mirror(value)
            row.added_by = (
                Subscription.AddedBy.HISTORY
                if update.source == StoreUpdate.Source.HISTORY
                else Subscription.AddedBy.SYNC
            )
            row.device = None
            row.dapp_authentication_did = ""
            row.deleted_at, row.delete_reason = None, ""
            room -= 1
            values.append(value)
        notes[update.key] = describe(value)
    joined = [*new, *revived]
    set_pinned_keys([*joined, *changed])
    Subscription.objects.bulk_create(new)
    Subscription.objects.bulk_update(revived, _REVIVED_FIELDS)
    Subscription.objects.bulk_update(changed, _CHANGED_FIELDS)
    keep_notify_keys(values, account_id=store.account_id)
    outbox.subscribe(Party.WALLET, [row.topic for row in joined])
    if joined:
        SubscriptionJob.objects.schedule(SubscriptionJob.Kind.HISTORY, joined)
        enqueue_on_commit(REPLAY_TASK)
    for row in joined:
        audit(
            "subscription.added",
            account=store.account,
            subject=row.dapp_url[:256],
            detail=f"through {row.added_by}",
        )
    events = [subscription_event(EventKind.SUBSCRIPTION, row) for row in joined]
    events += [subscription_event(EventKind.UPDATE, row) for row in changed]
    return Consequences(notes, events + end_subscriptions(ended, reason=BY_WALLET))


def _mirror_change(row: Subscription, value: NotifySubscription) -> bool:
    """Whether the value differs from the row, which is made equal to it."""
    before = [getattr(row, name) for name in MIRRORED_FIELDS]
    url, types = row.dapp_url, row.effective_types
    row.mirror(value)
    if row.effective_types != types:
        row.note_change(None, clock.now())
    if row.dapp_url != url:
        # Another dapp under the same key P: the first one's pinned key is not valid.
        row.dapp_authentication_did = ""
    return before != [getattr(row, name) for name in MIRRORED_FIELDS]


def set_pinned_keys(rows: Sequence[Subscription]) -> None:
    """Give rows their dapp's pinned key; a task reads the documents of unknown dapps."""
    unknown = [row for row in rows if not row.dapp_authentication_did]
    if not unknown:
        return
    dids = authentication_dids({row.dapp_url for row in unknown})
    for row in unknown:
        row.dapp_authentication_did = dids.get(row.dapp_url, "")
    if not all(row.dapp_authentication_did for row in unknown):
        enqueue_on_commit(LEARN_TASK)


def announce_missing(store: Store) -> list[EventDraft]:
    """Write into the store what this server had before Sync was turned on.

    Runs after the replay of History, so that it announces nothing that another wallet
    has announced, changed or ended in the meantime.
    """
    rows = list(
        Subscription.objects.active().locked().filter(account_id=store.account_id)
    )
    keys = notify_keys(rows)
    written = known_keys(store, [row.topic for row in rows])
    values = {
        row.topic: row.with_key(keys[Topic(row.topic)])
        for row in rows
        if row.topic not in written and Topic(row.topic) in keys
    }
    events = store_set(
        store.account_id,
        store.name,
        store_entries(values.values()),
        notes={topic: describe(value) for topic, value in values.items()},
    )
    attempts = list(
        SubscribeAttempt.objects.filter(
            subscription_id__in=[row.pk for row in rows], state=State.SETTLED
        )
    )
    move([each.pk for each in attempts], State.SETTLED, State.SYNCED)
    return events + [attempt_event(attempt) for attempt in attempts]
