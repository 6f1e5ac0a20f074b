"""The archive: registered tags, pages of messages, pruning.

Spec: WalletConnect specs, servers/history/history-server-api.md. The archive has no copy of
its own: it reads the log of the embedded relay (``relayserver.models.PublishedMessage``), in
which messages of archived tags outlive their TTL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from django.db import connection, transaction
from django.db.models.functions import Length

from common import clock, retention
from history.models import HistoryRegistration
from relayserver.models import ArchivedTag, PublishedMessage
from walletconnect.relay.methods import Tag

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

Direction: TypeAlias = Literal["forward", "backward"]

# Tags that a registration can have archived: the messages that a new device needs.
# Any client may register, so clients cannot extend the list.
ARCHIVABLE: Final = frozenset({Tag.NOTIFY_MESSAGE, Tag.SYNC_SET, Tag.SYNC_DELETE})

# A page ends at this size whatever ``messageCount`` is, but has at least one message: 200
# messages of the maximal length would need 100 MiB of memory.
PAGE_BYTES: Final = 16 * 1024 * 1024
# Small transactions: row locks are held for milliseconds, beside running publishers.
PRUNE_BATCH_SIZE: Final = 5_000


@dataclass(frozen=True, slots=True)
class ArchivedMessage:
    """``message_id`` is the sha256 of ``message``; ``client_id`` published it."""

    message_id: str
    client_id: str
    topic: str
    message: str


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """``next_id`` is the message id that the next page begins with, if there is one."""

    topic: str
    direction: Direction
    messages: tuple[ArchivedMessage, ...]
    next_id: str | None


@dataclass(frozen=True, slots=True)
class Registration:
    """The tags that a client registered; ``kept`` are those that are archived for it."""

    tags: tuple[str, ...]
    relay_url: str

    @property
    def kept(self) -> tuple[int, ...]:
        return archived_by(self.tags)


def archived_by(patterns: Iterable[str]) -> tuple[int, ...]:
    """The archivable tags that match a pattern, in which ``*`` is any digit."""
    wanted = list(patterns)  # digits and asterisks only
    return tuple(
        int(tag)
        for tag in sorted(ARCHIVABLE)
        if any(
            re.fullmatch(pattern.replace("*", "[0-9]"), str(int(tag)))
            for pattern in wanted
        )
    )


def registration_of(client_id: str) -> Registration | None:
    row = HistoryRegistration.objects.filter(client_id=client_id).first()
    return None if row is None else Registration(tuple(row.tags), row.relay_url)


def register(client_id: str, *, tags: Collection[str], relay_url: str) -> Registration:
    """Register a client's tags. From now on they are archived on all topics."""
    made = Registration(tuple(sorted(tags)), relay_url)
    with transaction.atomic():
        HistoryRegistration.objects.update_or_create(
            client_id=client_id,
            defaults={
                "tags": list(made.tags),
                "relay_url": relay_url,
                "registered_at": clock.now(),
            },
        )
        archive(made.kept)
    return made


def change_tags(
    client_id: str,
    *,
    added: Collection[str],
    removed: Collection[str],
    relay_url: str,
) -> Registration | None:
    """Add and remove tags of a registration; None if the client has none.

    A removed tag stays archived: the archive is every client's.
    """
    with transaction.atomic():
        row = (
            HistoryRegistration.objects.select_for_update()
            .filter(client_id=client_id)
            .first()
        )
        if row is None:
            return None
        tags = (set(row.tags) - set(removed)) | set(added)
        return register(client_id, tags=tags, relay_url=relay_url or row.relay_url)


def archive(tags: Iterable[int]) -> None:
    """Keep the messages of these tags beyond their TTL, if they are archivable."""
    now = clock.now()
    ArchivedTag.objects.bulk_create(
        [ArchivedTag(tag=int(tag), since=now) for tag in set(tags) & ARCHIVABLE],
        ignore_conflicts=True,
    )


def messages(
    topic: str, *, direction: Direction, count: int, origin: str | None = None
) -> HistoryPage:
    """A page of archived messages of a topic; ``origin`` is its first message.

    Forward begins with the oldest, backward with the newest.
    """
    archived = PublishedMessage.objects.filter(
        topic=topic, tag__in=ArchivedTag.objects.values("tag")
    )
    backward = direction == "backward"
    rows = archived.order_by("-id" if backward else "id")
    if origin is not None:
        first = archived.filter(message_id=origin).values_list("id", flat=True).first()
        if first is None:
            return HistoryPage(topic, direction, (), None)
        rows = rows.filter(**{"id__lte" if backward else "id__gte": first})
    # Lengths first: a page of long messages ends early, and is not loaded in vain.
    measured = rows.annotate(size=Length("message"))
    ids: list[int] = []
    next_id = None
    size = 0
    for id_, message_id, length in measured.values_list("id", "message_id", "size")[
        : count + 1
    ]:
        size += length
        if len(ids) == count or (ids and size > PAGE_BYTES):
            next_id = message_id
            break
        ids.append(id_)
    found = PublishedMessage.objects.in_bulk(ids)
    return HistoryPage(
        topic,
        direction,
        tuple(
            ArchivedMessage(row.message_id, row.publisher, row.topic, row.message)
            for row in (found[id_] for id_ in ids if id_ in found)
        ),
        next_id,
    )


_PRUNE_OTHERS: Final = """
DELETE FROM relay_publishedmessage WHERE id IN (
    SELECT id FROM relay_publishedmessage
    WHERE expires_at <= %(before)s AND NOT tag IN (4002, 5000, 5002)
    ORDER BY expires_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
"""
_PRUNE_TAG: Final = """
DELETE FROM relay_publishedmessage WHERE id IN (
    SELECT id FROM relay_publishedmessage
    WHERE tag = %(tag)s AND tag IN (4002, 5000, 5002) AND expires_at <= %(before)s
    ORDER BY expires_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
"""
_KEEP: Final = {
    Tag.NOTIFY_MESSAGE: "keep_archived_notifications_days",
    Tag.SYNC_SET: "keep_archived_sync_days",
    Tag.SYNC_DELETE: "keep_archived_sync_days",
}


def prune_messages() -> int:
    """Delete expired messages, archived ones after their time, in committed batches."""
    now = clock.now_ms()
    archived = set(ArchivedTag.objects.values_list("tag", flat=True))
    batches = [_prune_batches(_PRUNE_OTHERS, before=now, tag=0)]
    for tag, keep in _KEEP.items():
        before = now
        if tag in archived:
            oldest = retention.cutoff(keep)
            if oldest is None:
                continue
            # The time counts from the end of a message's TTL.
            before = int(oldest.timestamp() * 1000)
        batches.append(_prune_batches(_PRUNE_TAG, before=before, tag=int(tag)))
    return retention.in_turns(batches)


def _prune_batches(statement: str, *, before: int, tag: int) -> Iterator[int]:
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                statement, {"before": before, "tag": tag, "limit": PRUNE_BATCH_SIZE}
            )
            batch = int(cursor.rowcount)
        yield batch
        if batch < PRUNE_BATCH_SIZE:
            return
