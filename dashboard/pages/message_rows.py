"""What rows of notifications show; ``dashboard.message_rows`` makes HTML of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from subscriptions.models import DappDocument, Icon, NotifyMessageRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

# Places in the columns of ``rows_of_users``.
ICON, DAPP_ICON = 8, 9


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
    """The rows of those of these notifications that belong to the users, newest first.

    Three queries, without model instances, which would take longer to create than the rows
    to render.
    """
    records = NotifyMessageRecord.objects.kept().filter(
        pk__in=set(pks), subscription__account__user_id__in=set(user_ids)
    )
    found = list(
        records.order_by("-published_at", "-pk").values_list(
            "pk",
            "published_at",
            "title",
            "body",
            "type",
            "read_at",
            "archived_at",
            "snoozed_until",
            "icon",
            "subscription__metadata__icons__0",
            "subscription__metadata__name",
            "subscription__dapp_url",
            "subscription__account_id",
            "subscription__account__address",
            "subscription__account__user_id",
        )
    )
    offered = types_of({url for *_, url, _, _, _ in found})
    icons = Icon.objects.digests(
        str(url) for row in found for url in (row[ICON], row[DAPP_ICON]) if url
    )
    rows: dict[int, list[MessageRow]] = {user_id: [] for user_id in user_ids}
    for (
        pk,
        published_at,
        title,
        body,
        type_id,
        read_at,
        archived_at,
        snoozed_until,
        icon,
        dapp_icon,
        name,
        url,
        account_pk,
        address,
        user_id,
    ) in found:
        row = MessageRow(
            pk=pk,
            published_at=published_at,
            title=title,
            body=body,
            type=type_id,
            type_name=type_name(type_id, offered.get(url)),
            dapp=str(name or url),
            dapp_url=url,
            account_pk=account_pk,
            address=address,
            is_read=read_at is not None,
            is_archived=archived_at is not None,
            snoozed_until=snoozed_until,
            icon=icons.get(icon) or icons.get(dapp_icon) or "",
        )
        rows[user_id].append(row)
    return rows


def types_of(dapp_urls: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """The types that the dapps offer, by the dapp's URL."""
    documents = DappDocument.objects.filter(url__in=set(dapp_urls))
    return dict(documents.values_list("url", "types"))


def type_name(type_id: str, offered: list[dict[str, str]] | None) -> str:
    """The type's title from the dapp's document, or its id if it is not listed."""
    for each in offered or []:
        if each["name"] == type_id:
            return each.get("title") or type_id
    return type_id
