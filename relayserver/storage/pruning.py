"""Deletes cursors and acknowledgements without stored messages."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import redis
from django.db import connection

from common import clock
from common.connections import shared_redis

BATCH = 5_000
# Rows of one run, about three seconds.
MAX_WALKED = 200_000

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
WITH part AS (
    SELECT topic, client, published_id FROM relay_acknowledgement
    WHERE (topic, client, published_id) > (%(topic)s, %(client)s, %(published_id)s)
    ORDER BY topic, client, published_id LIMIT %(batch)s
), gone AS (
    DELETE FROM relay_acknowledgement kept USING part
    WHERE kept.topic = part.topic AND kept.client = part.client
      AND kept.published_id = part.published_id
      AND NOT EXISTS (
          SELECT FROM relay_publishedmessage message
          WHERE message.id = part.published_id AND message.expires_at > %(now)s
      )
)
SELECT topic, client, published_id FROM part
ORDER BY topic DESC, client DESC, published_id DESC LIMIT 1
"""


def prune_mailboxes() -> None:
    """Walk over cursors and acknowledgements, in committed batches.

    All of them, up to ``MAX_WALKED``: what a million clients acknowledged takes some runs.
    """
    _walk(_PRUNE_CURSORS, {"topic": "", "client": ""})
    _walk(_PRUNE_ACKNOWLEDGEMENTS, {"topic": "", "client": "", "published_id": 0})


def _walk(statement: str, start: dict[str, Any]) -> None:
    # Where the run before ended. Redis may lose it; then the walk begins anew.
    key = f"relay:pruned:{len(start)}"
    kept = None
    with contextlib.suppress(redis.RedisError, ValueError):
        kept = json.loads(shared_redis().get(key) or "null")
    place = kept or start
    walked = 0
    while place is not None and walked < MAX_WALKED:
        with connection.cursor() as cursor:
            cursor.execute(statement, {**place, "batch": BATCH, "now": clock.now_ms()})
            last = cursor.fetchone()
        walked += BATCH
        place = dict(zip(start, last, strict=True)) if last else None
        if place is None and kept is not None:
            # The part before the place where this run began.
            place, kept = start, None
    with contextlib.suppress(redis.RedisError):
        if place is None:
            shared_redis().delete(key)
        else:
            shared_redis().set(key, json.dumps(place))
