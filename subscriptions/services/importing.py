"""Subscriptions and notifications from an account's export, put back here.

What is here already stays as it is, so that an import can be repeated; only what is
missing is filled in. The dapp's authentication key is never taken from a file: a changed
file could then have others send in the dapp's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import connection

from accounts.services import EventDraft, EventKind
from common import clock
from common.wake import enqueue_on_commit
from messaging import outbox
from messaging.models import Party
from subscriptions.models import (
    MIRRORED_FIELDS,
    REASON_LENGTH,
    Subscription,
    SubscriptionJob,
)
from subscriptions.services.dapps.documents import normalize_dapp_url
from subscriptions.services.deletes import BY_TIME, BY_WALLET
from subscriptions.services.errors import DappUnusable
from subscriptions.services.subscribe.adoption import (
    REPLAY_TASK,
    announce_missing,
    set_pinned_keys,
)
from subscriptions.services.wallet import keep_notify_keys, subscription_event
from syncstore.services import StoreKeyMissing, known_keys, present_values
from walletconnect.crypto.keys import SymKey, Topic
from walletconnect.identity.did import AccountId
from walletconnect.notify.subscribe import MAX_EXPIRY
from walletconnect.notify.values import Metadata, NotifySubscription

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from accounts.models import Account
    from syncstore.models import Store
    from walletconnect.notify.scope import ScopeMap

WITHOUT_KEY: Final = "imported without its key"
MAX_REFUSED_SHOWN: Final = 100


class Outcome(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class SubscriptionCopy:
    """A subscription as an export has it; ``sym_key`` where the sealed part was opened."""

    topic: str
    metadata: Metadata
    scope: ScopeMap
    expiry: int
    created_at: datetime
    ended_at: datetime | None = None
    end_reason: str = ""
    added_by: Subscription.AddedBy = Subscription.AddedBy.SYNC
    sym_key: SymKey | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class NotificationCopy:
    """A notification as an export has it. ``line`` is its place in the file."""

    line: int
    topic: str
    rpc_id: int
    notification_id: str
    type: str
    title: str
    body: str
    icon: str
    url: str
    message_auth: str
    published_at: datetime
    received_at: datetime
    read_at: datetime | None
    server_read_at: datetime | None
    archived_at: datetime | None
    snoozed_until: datetime | None


@dataclass(frozen=True, slots=True)
class RestoredSubscriptions:
    """What became of each copy: an outcome, or why it was refused; and events to record."""

    results: Sequence[Outcome | str]
    events: Sequence[EventDraft]


@dataclass(frozen=True, slots=True)
class RestoredNotifications:
    total: int
    new: int
    changed: int
    # Lines whose subscription is not here: how many, and the first of them.
    refused: int
    refused_lines: Sequence[int]
    events: Sequence[EventDraft]


# --- subscriptions ----------------------------------------------------------------------


def restore_subscriptions(
    account: Account, copies: Sequence[SubscriptionCopy], *, stores: Sequence[Store]
) -> RestoredSubscriptions:
    """Create what is missing. In the caller's transaction, with ``stores`` locked.

    A subscription without a key, one past its expiry and one that another wallet ended
    in the shared store are created as ended ones: their notifications can be read.
    """
    topics = [copy.topic for copy in copies]
    locked = (
        Subscription.objects.of(account)
        .select_for_update(of=("self",))
        .filter(topic__in=topics)
        .order_by("pk")
    )
    known = {row.topic: row for row in locked}
    ended_elsewhere: set[str] = set()
    for store in stores:
        ended_elsewhere |= known_keys(store, topics) - set(
            present_values(store, topics)
        )
    active = Subscription.objects.active().of(account).count()
    room = settings.LIMITS.subscriptions_per_account - active
    results: list[Outcome | str] = []
    new: list[Subscription] = []
    revived: list[Subscription] = []
    values: list[NotifySubscription] = []
    for copy in copies:
        row = known.get(copy.topic)
        ended = _end_of(copy, ended_elsewhere)
        if row is not None and (row.delete_reason != WITHOUT_KEY or ended is not None):
            results.append(Outcome.PRESENT)
            continue
        refusal = _refusal(copy, is_active=ended is None, room=room)
        if refusal:
            results.append(refusal)
            continue
        if row is None:
            row = Subscription(account=account, created_at=copy.created_at)
            new.append(row)
            results.append(Outcome.NEW)
        else:
            revived.append(row)
            results.append(Outcome.CHANGED)
        row.added_by = copy.added_by
        row.topic = copy.topic
        row.metadata = copy.metadata.to_value()
        row.scope = copy.scope.to_value()
        row.expiry = copy.expiry
        row.dapp_url = normalize_dapp_url(copy.metadata.url)
        row.deleted_at, row.delete_reason = ended or (None, "")
        if ended is None and copy.sym_key is not None:
            room -= 1
            values.append(_value_of(account, copy, copy.sym_key))
    joined = [row for row in [*new, *revived] if row.deleted_at is None]
    set_pinned_keys(joined)
    Subscription.objects.bulk_create(new)
    Subscription.objects.bulk_update(
        revived,
        [
            *MIRRORED_FIELDS,
            "added_by",
            "dapp_authentication_did",
            "deleted_at",
            "delete_reason",
        ],
    )
    keep_notify_keys(values, account_id=account.pk)
    outbox.subscribe(Party.WALLET, [row.topic for row in joined])
    if joined:
        # What arrived since the export was made.
        SubscriptionJob.objects.schedule(SubscriptionJob.Kind.HISTORY, joined)
        enqueue_on_commit(REPLAY_TASK)
    events = [
        subscription_event(EventKind.SUBSCRIPTION, row) for row in [*new, *revived]
    ]
    return RestoredSubscriptions(results, events)


def _end_of(
    copy: SubscriptionCopy, ended_elsewhere: set[str]
) -> tuple[datetime, str] | None:
    """When and why the subscription is over; None if it is to be used."""
    now = clock.now()
    if copy.ended_at is not None:
        return min(copy.ended_at, now), copy.end_reason[:REASON_LENGTH]
    if copy.expiry <= now.timestamp():
        return datetime.fromtimestamp(copy.expiry, UTC), BY_TIME
    if copy.topic in ended_elsewhere:
        return now, BY_WALLET
    if copy.sym_key is None:
        return now, WITHOUT_KEY
    return None


def _refusal(copy: SubscriptionCopy, *, is_active: bool, room: int) -> str:
    """Why the copy cannot be stored; empty if it can."""
    try:
        normalize_dapp_url(copy.metadata.url)
    except DappUnusable as error:
        return str(error)
    if is_active and copy.expiry > clock.now_s() + MAX_EXPIRY:
        return "the expiry is too far away"
    if is_active and room <= 0:
        most = settings.LIMITS.subscriptions_per_account
        return f"an account has at most {most} subscriptions"
    return ""


def _value_of(
    account: Account, copy: SubscriptionCopy, sym_key: SymKey
) -> NotifySubscription:
    return NotifySubscription(
        topic=Topic(copy.topic),
        account=AccountId.parse(account.address),
        metadata=copy.metadata,
        scope=copy.scope,
        expiry=copy.expiry,
        sym_key=sym_key,
    )


def announce_restored(stores: Iterable[Store]) -> list[EventDraft]:
    """Write into the stores what they have not had; returns the events to record."""
    events: list[EventDraft] = []
    for store in stores:
        try:
            events += announce_missing(store)
        except StoreKeyMissing:
            # Nothing can be written into this store until its key is back.
            continue
    return events


# --- notifications ----------------------------------------------------------------------

_COLUMNS: Final[Mapping[str, str]] = {
    "line": "integer",
    "topic": "text",
    "rpc_id": "bigint",
    "notification_id": "text",
    "type": "text",
    "title": "text",
    "body": "text",
    "icon": "text",
    "url": "text",
    "message_auth": "text",
    "published_at": "timestamptz",
    "received_at": "timestamptz",
    "read_at": "timestamptz",
    "server_read_at": "timestamptz",
    "archived_at": "timestamptz",
    "snoozed_until": "timestamptz",
}
_CREATE: Final = (
    "CREATE TEMPORARY TABLE subscriptions_incoming ("
    + ", ".join(f"{name} {type_}" for name, type_ in _COLUMNS.items())
    + ") ON COMMIT DROP"
)
_COPY: Final = f"COPY subscriptions_incoming ({', '.join(_COLUMNS)}) FROM STDIN"
_REFUSED: Final = """
SELECT incoming.line, count(*) OVER ()
FROM subscriptions_incoming AS incoming
WHERE NOT EXISTS (
    SELECT FROM subscriptions_subscription AS owner
    WHERE owner.account_id = %s AND owner.topic = incoming.topic
)
ORDER BY incoming.line LIMIT %s
"""
_INSERT: Final = """
WITH inserted AS (
    INSERT INTO subscriptions_notifymessagerecord AS kept
        (subscription_id, rpc_id, notification_id, type, title, body, icon, url,
         message_auth, published_at, received_at, read_at, read_there_at, archived_at,
         snoozed_until)
    SELECT owner.id, rpc_id, notification_id, type, title, body, icon, url,
           message_auth, published_at, received_at, read_at, server_read_at,
           archived_at, snoozed_until
    FROM subscriptions_incoming AS incoming
    JOIN subscriptions_subscription AS owner
      ON owner.account_id = %s AND owner.topic = incoming.topic
    ORDER BY incoming.line
    -- Of the JSON-RPC id or of the signed token.
    ON CONFLICT DO NOTHING
    RETURNING subscription_id
)
SELECT subscription_id, count(*) FROM inserted GROUP BY subscription_id
"""
# What was read or archived in either place, is. What was deleted here stays deleted.
_MERGE: Final = """
WITH changed AS (
    UPDATE subscriptions_notifymessagerecord AS kept SET
        read_at = COALESCE(kept.read_at, incoming.read_at),
        read_there_at = COALESCE(kept.read_there_at, incoming.server_read_at),
        archived_at = COALESCE(kept.archived_at, incoming.archived_at)
    FROM subscriptions_incoming AS incoming
    JOIN subscriptions_subscription AS owner
      ON owner.account_id = %s AND owner.topic = incoming.topic
    WHERE kept.subscription_id = owner.id AND kept.rpc_id = incoming.rpc_id
      AND kept.deleted_at IS NULL
      AND (kept.read_at IS NULL AND incoming.read_at IS NOT NULL
        OR kept.read_there_at IS NULL AND incoming.server_read_at IS NOT NULL
        OR kept.archived_at IS NULL AND incoming.archived_at IS NOT NULL)
    RETURNING kept.subscription_id
)
SELECT subscription_id, count(*) FROM changed GROUP BY subscription_id
"""


def restore_notifications(
    account: Account, copies: Iterator[NotificationCopy]
) -> RestoredNotifications:
    """Store what is missing and merge the read state; in the caller's transaction.

    The rows go through a temporary table, so that the number of statements and the
    memory do not depend on how many there are. ``copies`` must not use the database.
    """
    now = clock.now()
    total = 0
    with connection.cursor() as cursor:
        cursor.execute(_CREATE)
        with cursor.copy(_COPY) as copying:
            for each in copies:
                total += 1
                copying.write_row([_clamped(each, name, now) for name in _COLUMNS])
        cursor.execute(_REFUSED, [account.pk, MAX_REFUSED_SHOWN])
        refused = cursor.fetchall()
        cursor.execute(_INSERT, [account.pk])
        new = dict(cursor.fetchall())
        cursor.execute(_MERGE, [account.pk])
        changed = dict(cursor.fetchall())
        # A second import in the same transaction creates it again.
        cursor.execute("DROP TABLE subscriptions_incoming")
    return RestoredNotifications(
        total=total,
        new=sum(new.values()),
        changed=sum(changed.values()),
        refused=refused[0][1] if refused else 0,
        refused_lines=[line for line, _ in refused],
        events=[
            EventDraft(account.pk, EventKind.READ, f"subscriptions.subscription:{pk}")
            for pk in sorted({*new, *changed})
        ],
    )


def _clamped(copy: NotificationCopy, name: str, now: datetime) -> object:
    value = getattr(copy, name)
    if isinstance(value, datetime) and name != "snoozed_until":
        # A time in the future would keep a notification on top of the inbox.
        return min(value, now)
    return value
