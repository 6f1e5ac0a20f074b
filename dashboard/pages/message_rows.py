"""What rows of notifications show; ``dashboard.message_rows`` makes HTML of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

# One statement and no models: composing querysets took longer than rendering the rows. The
# name of a type is the one in the dapp's document; the picture is the notification's own, or
# the dapp's, where we have it (``Icon.objects.digests``).
_ROWS: Final = """
SELECT account.user_id, record.id, record.published_at, record.title, record.body,
    record.type,
    COALESCE(NULLIF((
        SELECT offered ->> 'title' FROM jsonb_array_elements(document.types) offered
        WHERE offered ->> 'name' = record.type LIMIT 1
    ), ''), record.type),
    COALESCE(NULLIF(subscription.metadata ->> 'name', ''), subscription.dapp_url),
    subscription.dapp_url, subscription.account_id, account.address,
    record.read_at IS NOT NULL, record.archived_at IS NOT NULL, record.snoozed_until,
    COALESCE(NULLIF(own.digest, ''), NULLIF(dapp.digest, ''), '')
FROM subscriptions_notifymessagerecord record
JOIN subscriptions_subscription subscription ON subscription.id = record.subscription_id
JOIN accounts_account account ON account.id = subscription.account_id
LEFT JOIN subscriptions_dappdocument document ON document.url = subscription.dapp_url
LEFT JOIN subscriptions_icon own ON own.url = record.icon
LEFT JOIN subscriptions_icon dapp ON dapp.url = subscription.metadata #>> '{icons,0}'
WHERE record.id = ANY(%(pks)s::bigint[]) AND record.deleted_at IS NULL
    AND account.user_id = ANY(%(users)s::bigint[])
ORDER BY record.published_at DESC, record.id DESC
"""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """What a row of the list shows of a notification."""

    pk: int
    published_at: datetime
    title: str
    body: str
    type: str
    type_name: str
    dapp: str
    dapp_url: str
    account_pk: int
    address: str
    is_read: bool
    is_archived: bool
    snoozed_until: datetime | None
    # Digest of the picture; empty for the letter tile.
    icon: str


def rows_of(user_id: int, pks: Iterable[int]) -> list[MessageRow]:
    """The rows of these notifications, newest first."""
    return rows_of_users([user_id], pks)[user_id]


def rows_of_users(
    user_ids: Collection[int], pks: Iterable[int]
) -> dict[int, list[MessageRow]]:
    """The rows of those of these notifications that belong to the users, newest first."""
    rows: dict[int, list[MessageRow]] = {user_id: [] for user_id in user_ids}
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, {"pks": list(pks), "users": list(rows)})
        for user_id, *values in cursor.fetchall():
            rows[user_id].append(MessageRow(*values))
    return rows


def type_name(type_id: str, offered: list[dict[str, str]] | None) -> str:
    """The type's title from the dapp's document, or its id if it is not listed."""
    for each in offered or []:
        if each["name"] == type_id:
            return each.get("title") or type_id
    return type_id
