"""The archive: which tags are kept, what is handed out, what is thrown away.

Spec: servers/history; protocol.md, section 9. The archive has no copy of its own. It reads
the log of the embedded relay (`messaging.models.PublishedMessage`), where the messages of
archived tags outlive their TTL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Length

from common import clock
from history.models import HistoryRegistration
from relayserver.models import ArchivedTag, PublishedMessage
from walletconnect.relay.methods import Tag

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from django.db.models import QuerySet

Direction: TypeAlias = Literal["forward", "backward"]

# What a registration can have kept for ever. Every client may register, so the list is
# ours: the messages that a new device needs.
ARCHIVABLE: Final = frozenset({Tag.NOTIFY_MESSAGE, Tag.SYNC_SET, Tag.SYNC_DELETE})

# A page ends here, however many messages were asked for, but has at least one.
PAGE_BYTES: Final = 16 * 1024 * 1024
PRUNE_BATCH: Final = 5_000
# One run of the task; the next one goes on.
PRUNE_MOST: Final = 500_000


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
    """What a client asked for, and which tags are kept because of it."""

    tags: tuple[str, ...]
    relay_url: str

    @property
    def kept(self) -> tuple[int, ...]:
        return archived_by(self.tags)


def archived_by(patterns: Iterable[str]) -> tuple[int, ...]:
    """The archivable tags that one of the patterns names; ``*`` is any one digit."""
    wanted = list(patterns)
    return tuple(
        int(tag)
        for tag in sorted(ARCHIVABLE)
        if any(_matches(str(int(tag)), pattern) for pattern in wanted)
    )


def _matches(tag: str, pattern: str) -> bool:
    return len(tag) == len(pattern) and all(
        expected in (digit, "*") for digit, expected in zip(tag, pattern, strict=True)
    )


def registration_of(client_id: str) -> Registration | None:
    row = HistoryRegistration.objects.filter(client_id=client_id).first()
    return None if row is None else Registration(tuple(row.tags), row.relay_url)


def register(client_id: str, *, tags: Collection[str], relay_url: str) -> Registration:
    """A client asks for an archive; from now on it is kept for all topics."""
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
    """Keep the messages of these tags beyond their TTL, as far as they may be."""
    now = clock.now()
    ArchivedTag.objects.bulk_create(
        [ArchivedTag(tag=int(tag), since=now) for tag in set(tags) & ARCHIVABLE],
        ignore_conflicts=True,
    )


def messages(
    topic: str, *, direction: Direction, count: int, origin: str | None = None
) -> HistoryPage:
    """A page of what is archived on a topic; ``origin`` is the first message of it.

    Forward begins with the oldest, backward with the newest.
    """
    archived = PublishedMessage.objects.filter(
        topic=topic, tag__in=ArchivedTag.objects.values("tag")
    )
    rows = _from_origin(archived, direction=direction, origin=origin)
    if rows is None:
        return HistoryPage(topic, direction, (), None)
    ids, follows = _one_page(rows, count)
    found = PublishedMessage.objects.in_bulk(ids)
    return HistoryPage(
        topic,
        direction,
        tuple(_archived(found[id_]) for id_ in ids if id_ in found),
        follows,
    )


def _from_origin(
    archived: QuerySet[PublishedMessage], *, direction: Direction, origin: str | None
) -> QuerySet[PublishedMessage] | None:
    """The messages in their direction; None if nobody knows the origin (any more)."""
    backward = direction == "backward"
    ordered = archived.order_by("-id" if backward else "id")
    if origin is None:
        return ordered
    first = archived.filter(message_id=origin).values_list("id", flat=True).first()
    if first is None:
        return None
    return ordered.filter(id__lte=first) if backward else ordered.filter(id__gte=first)


def _one_page(
    rows: QuerySet[PublishedMessage], count: int
) -> tuple[list[int], str | None]:
    """Ids of the page, and the message id that follows it."""
    measured = rows.annotate(size=Length("message"))
    ids: list[int] = []
    size = 0
    for id_, message_id, length in measured.values_list("id", "message_id", "size")[
        : count + 1
    ]:
        size += length
        if len(ids) == count or (ids and size > PAGE_BYTES):
            return ids, message_id
        ids.append(id_)
    return ids, None


def _archived(row: PublishedMessage) -> ArchivedMessage:
    return ArchivedMessage(row.message_id, row.publisher, row.topic, row.message)


_PRUNE = """
DELETE FROM relay_publishedmessage WHERE id IN (
    SELECT id FROM relay_publishedmessage
    WHERE expires_at <= %s AND tag NOT IN (SELECT tag FROM relay_archivedtag)
    ORDER BY expires_at LIMIT %s
    FOR UPDATE SKIP LOCKED
)
"""


def prune_messages() -> int:
    """Throw away what is past its TTL and not archived. Batch by batch, each committed."""
    now = clock.now_ms()
    pruned = 0
    while pruned < PRUNE_MOST:
        with connection.cursor() as cursor:
            cursor.execute(_PRUNE, [now, PRUNE_BATCH])
            batch = cursor.rowcount
        pruned += batch
        if batch < PRUNE_BATCH:
            break
    return pruned


def longest_page() -> int:
    most: int = settings.LIMITS.history_page
    return most
