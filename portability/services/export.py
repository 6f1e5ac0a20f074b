"""An account as JSON Lines (docs/export.md) or its notifications as CSV, page by page.

Pages of two hundred rows by primary key: memory does not grow with the inbox, and no
transaction stays open while a slow browser reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from django.conf import settings
from django.db.models import Model, Q

from accounts.services import audit
from alerts.models import AlertSettings, Mute
from common import clock
from common.csv_text import csv_rows
from keychain.passphrase import seal_with_passphrase
from keychain.services import Holder, sym_keys
from portability.schemas import (
    FORMAT,
    VERSION,
    associated_data,
    own_relay,
    own_relay_name,
)
from subscriptions.models import NotifyMessageRecord, Subscription
from syncstore.models import Store
from walletconnect.identity.did import AccountId
from walletconnect.json_values import dump_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from django.db.models import QuerySet

    from accounts.models import Account, Device
    from walletconnect.json_values import JsonObject

_Row = TypeVar("_Row", bound=Model)

PAGE_SIZE: Final = 200
CSV_COLUMNS: Final = (
    "published_at",
    "dapp",
    "dapp_url",
    "type",
    "title",
    "body",
    "url",
    "read_at",
    "archived_at",
)


def export_account(
    account: Account, *, passphrase: str = "", device: Device | None = None
) -> Iterator[bytes]:
    """The lines of the export, many in each chunk. Without ``passphrase`` without keys.

    Raises ``keychain.passphrase.WeakPassphrase``, before the first chunk.
    """
    subscriptions = Subscription.objects.of(account)
    quiet = AlertSettings.objects.filter(user=account.user_id).first()
    rows = Mute.objects.filter(Q(until=None) | Q(until__gt=clock.now()))
    mutes: list[JsonObject] = [
        {
            "kind": "mute",
            "dappUrl": row.dapp_url,
            "type": row.type,
            "until": _time(row.until),
        }
        for row in rows.filter(account=account).order_by("pk")
    ]
    head: list[JsonObject] = [
        {
            "kind": "header",
            "format": FORMAT,
            "version": VERSION,
            "account": account.address,
            "exportedAt": clock.now().isoformat(),
            "server": settings.PUBLIC_URL,
            "relay": own_relay(),
            "relayName": own_relay_name(),
        },
        {
            "kind": "settings",
            "label": account.label,
            "quietHours": None
            if quiet is None
            else {
                "from": quiet.quiet_from.isoformat("minutes"),
                "until": quiet.quiet_until.isoformat("minutes"),
                "weekends": quiet.quiet_weekends,
                "timeZone": quiet.time_zone,
            },
        },
        *mutes,
    ]
    if passphrase:
        head.append(_sealed(account, passphrase))
    audit(
        "account.exported",
        device=device,
        account=account,
        detail="with keys" if passphrase else "without keys",
    )
    return _lines(account, subscriptions, head)


def _lines(
    account: Account, subscriptions: QuerySet[Subscription], head: list[JsonObject]
) -> Iterator[bytes]:
    mutes = sum(line["kind"] == "mute" for line in head)
    yield _joined(head)
    counts = {"mutes": mutes, "subscriptions": 0, "notifications": 0}
    topics: dict[int, str] = {}
    for subscription_page in _pages(subscriptions):
        counts["subscriptions"] += len(subscription_page)
        topics |= {row.pk: row.topic for row in subscription_page}
        yield _joined([_subscription(row) for row in subscription_page])
    records = NotifyMessageRecord.objects.kept().filter(subscription__account=account)
    for page in _pages(records):
        # One that came through a subscription newer than those above is left out.
        lines = [
            _notification(row, topics[row.subscription_id])
            for row in page
            if row.subscription_id in topics
        ]
        counts["notifications"] += len(lines)
        yield _joined(lines)
    yield _joined([{"kind": "end", **counts}])


def _pages(rows: QuerySet[_Row]) -> Iterator[list[_Row]]:
    after = 0
    while page := list(rows.filter(pk__gt=after).order_by("pk")[:PAGE_SIZE]):
        yield page
        after = page[-1].pk


def _joined(lines: list[JsonObject]) -> bytes:
    return "".join(f"{dump_json(line)}\n" for line in lines).encode()


def _sealed(account: Account, passphrase: str) -> JsonObject:
    rows = Subscription.objects.active().of(account)
    topics = list(rows.values_list("topic", flat=True))
    stores = {
        store.derivation_name: store.topic
        for store in Store.objects.filter(account=account).order_by("pk")
    }
    keys = sym_keys(Holder.WALLET, [*topics, *stores.values()])
    by_topic = {str(topic): key.hex() for topic, key in keys.items()}
    secrets: JsonObject = {
        "symKeys": {topic: by_topic[topic] for topic in topics if topic in by_topic},
        "stores": {
            name: by_topic[topic] for name, topic in stores.items() if topic in by_topic
        },
    }
    sealed = seal_with_passphrase(
        passphrase,
        dump_json(secrets).encode(),
        associated_data(AccountId.parse(account.address)),
    )
    return {"kind": "sealed", **sealed}


def _subscription(row: Subscription) -> JsonObject:
    return {
        "kind": "subscription",
        "topic": row.topic,
        "metadata": row.metadata,
        "scope": row.scope,
        "expiry": row.expiry,
        "addedBy": row.added_by,
        "createdAt": _time(row.created_at),
        "endedAt": _time(row.deleted_at),
        "endReason": row.delete_reason,
    }


def _notification(row: NotifyMessageRecord, topic: str) -> JsonObject:
    return {
        "kind": "notification",
        "topic": topic,
        # Text: JavaScript's numbers do not hold it.
        "rpcId": str(row.rpc_id),
        "notificationId": row.notification_id,
        "type": row.type,
        "title": row.title,
        "body": row.body,
        "icon": row.icon,
        "url": row.url,
        "messageAuth": row.message_auth,
        "publishedAt": _time(row.published_at),
        "receivedAt": _time(row.received_at),
        "readAt": _time(row.read_at),
        "serverReadAt": _time(row.server_read_at),
        "archivedAt": _time(row.archived_at),
        "snoozedUntil": _time(row.snoozed_until),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


# --- CSV ------------------------------------------------------------------------------


def export_csv(account: Account) -> Iterator[bytes]:
    """The account's notifications for a spreadsheet, oldest first; no import reads it."""
    yield csv_rows([CSV_COLUMNS])
    records = NotifyMessageRecord.objects.kept().filter(subscription__account=account)
    for page in _pages(records.select_related("subscription")):
        yield csv_rows(
            [
                (
                    _time(row.published_at),
                    row.subscription.metadata.get("name", ""),
                    row.subscription.dapp_url,
                    row.type,
                    row.title,
                    row.body,
                    row.url,
                    _time(row.read_at),
                    _time(row.archived_at),
                )
                for row in page
            ]
        )
