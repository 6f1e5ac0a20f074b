"""Deletes cursors and acknowledgements without stored messages."""

from __future__ import annotations

from django.db import connection

from common import clock

BATCH = 5_000

_PRUNE_CURSORS = """
WITH part AS (
    SELECT topic, client, through FROM relay_mailboxcursor
    WHERE (topic, client) > (%(topic)s, %(client)s)
    ORDER BY topic, client LIMIT %(batch)s
), gone AS (
    DELETE FROM relay_mailboxcursor mailbox USING part
    WHERE mailbox.topic = part.topic AND mailbox.client = part.client
      AND NOT EXISTS (
          SELECT FROM relay_publishedmessage message
          WHERE message.topic = part.topic AND message.id <= mailbox.through
            AND message.expires_at > %(now)s
      )
)
SELECT topic, client FROM part ORDER BY topic DESC, client DESC LIMIT 1
"""

_PRUNE_ACKNOWLEDGEMENTS = """
DELETE FROM relay_acknowledgement acknowledged WHERE NOT EXISTS (
    SELECT FROM relay_publishedmessage message
    WHERE message.id = acknowledged.published_id AND message.expires_at > %(now)s
)
"""


def prune_mailboxes() -> None:
    """Walk over all cursors once, in committed batches."""
    now = clock.now_ms()
    place = ("", "")
    while True:
        arguments: dict[str, str | int] = {
            "topic": place[0],
            "client": place[1],
            "batch": BATCH,
            "now": now,
        }
        with connection.cursor() as cursor:
            cursor.execute(_PRUNE_CURSORS, arguments)
            last = cursor.fetchone()
        if last is None:
            break
        place = (last[0], last[1])
    with connection.cursor() as cursor:
        cursor.execute(_PRUNE_ACKNOWLEDGEMENTS, {"now": now})
