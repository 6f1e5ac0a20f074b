"""All archived messages of a topic, page by page, newest first.

Uses the network: call it outside transactions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from history import client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from walletconnect.crypto.keys import Topic


def archived_pages(topic: Topic, *, most: int | None = None) -> Iterator[list[str]]:
    """The envelopes of a topic, ``most`` at the most; raises ``HistoryUnavailable``."""
    most = settings.LIMITS.archived_messages if most is None else most
    count = settings.LIMITS.history_page
    seen: set[str] = set()
    origin: str | None = None
    while len(seen) < most:
        page = client.messages(topic, direction="backward", count=count, origin=origin)
        # A page begins with its origin, which was the last message of the page before.
        fresh = [each for each in page.messages if each.message_id not in seen]
        if not fresh:
            return
        seen.update(each.message_id for each in fresh)
        yield [each.message for each in fresh]
        if len(page.messages) < count:
            return
        origin = page.messages[-1].message_id
