"""Messages to publish and topics to subscribe, as rows for the gateway.

Rows are written in the transaction of the state change that needs them. The exact bytes
are stored and sent until the relay has acknowledged them; sealing again would make a
second message. A wake-up after commit saves the gateway (``messaging.gateway``) the wait
for its next scan.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from common import clock
from common.cursors import column_cursor
from common.failpoints import failpoint
from common.wake import wake
from messaging.confirmations import is_registered
from messaging.models import Party

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from walletconnect.json_values import JsonObject
    from walletconnect.relay.messages import Publication

_TOPIC = re.compile(r"[0-9a-f]{64}")
# Deleting these costs a quarter of `isprintable`, which looks up every character.
_PRINTABLE = bytes(range(0x20, 0x7F))

_INSERT = """
INSERT INTO messaging_outboxmessage
    (party, topic, message_id, message, tag, ttl, prompt, state, attempts,
     next_attempt_at, reason, created_at)
SELECT %(party)s, topic, message_id, message, tag, ttl, prompt, 'due', 0,
    %(now)s, '', %(now)s
FROM unnest(
    %(topics)b::text[], %(message_ids)b::text[], %(messages)b::text[],
    %(tags)b::int[], %(ttls)b::int[], %(prompts)b::bool[]
) WITH ORDINALITY AS given (topic, message_id, message, tag, ttl, prompt, place)
ORDER BY place
RETURNING id
"""

_WANT = """
INSERT INTO messaging_topicsubscription AS kept
    (party, topic, state, steps, changed_at, confirmed_at)
SELECT %(party)s, topic, 'wanted', %(callbacks)s, %(now)s, NULL
FROM unnest(%(topics)s::text[]) AS topic ORDER BY topic
ON CONFLICT (party, topic) DO UPDATE SET
    state = 'wanted',
    steps = kept.steps || excluded.steps,
    changed_at = excluded.changed_at,
    confirmed_at = NULL
WHERE kept.state <> 'wanted' OR NOT kept.steps @> excluded.steps
"""

_UNWANT = """
UPDATE messaging_topicsubscription SET
    state = 'unwanted', steps = '[]', changed_at = %(now)s, confirmed_at = NULL
WHERE id IN (
    SELECT id FROM messaging_topicsubscription
    WHERE party = %(party)s AND topic = ANY(%(topics)s) AND state = 'wanted'
    ORDER BY topic FOR UPDATE
)
"""


def _check(publication: Publication) -> None:
    """Raise for what no relay accepts, here, where the caller still gets the reason."""
    if not _TOPIC.fullmatch(publication.topic):
        raise ValueError("topic must be 64 lower-case hex digits")
    message = publication.message
    if not message.isascii() or message.encode().translate(None, _PRINTABLE):
        raise ValueError("message must be base64 text")
    limits = settings.LIMITS
    if len(message) > limits.relay_message_bytes:
        raise ValueError(f"message of {len(message)} bytes is too large")
    if not limits.ttl_min_s <= publication.ttl <= limits.ttl_max_s:
        raise ValueError(
            f"message ttl must be {limits.ttl_min_s} to {limits.ttl_max_s} s, not {publication.ttl}"
        )


def outbox_channel(party: Party) -> str:
    """The wake-up channel for new outbox rows."""
    return f"outbox.{Party(party).value}"


def topics_channel(party: Party) -> str:
    """The wake-up channel for changed topics."""
    return f"topics.{Party(party).value}"


def publish_all(party: Party, publications: Iterable[Publication]) -> list[int]:
    """Store messages to publish, in this order per topic, in the caller's transaction.

    Returns the primary keys of the new rows, in the order given.
    """
    given = list(publications)
    if not given:
        return []
    for publication in given:
        _check(publication)
    with column_cursor() as cursor:
        cursor.execute(
            _INSERT,
            {
                "party": Party(party).value,
                "now": clock.now(),
                "topics": [each.topic for each in given],
                "message_ids": [each.message_id for each in given],
                "messages": [each.message for each in given],
                "tags": [int(each.tag) for each in given],
                "ttls": [each.ttl for each in given],
                "prompts": [each.prompt for each in given],
            },
        )
        keys = [pk for (pk,) in cursor.fetchall()]
    failpoint("outbox.before_commit")
    wake(outbox_channel(party))
    return keys


def subscribe(
    party: Party,
    topics: Sequence[str],
    *,
    callback: str = "",
    context: JsonObject | None = None,
) -> None:
    """Have the gateway subscribe ``topics``, in the caller's transaction; idempotent.

    ``callback``, a name registered with ``messaging.confirmations``, is called with
    ``context`` for each topic once the relay has confirmed it; also for topics that are
    subscribed already, which are confirmed again.
    """
    if not topics:
        return
    _check_topics(topics)
    if callback and not is_registered(callback):
        raise ValueError(f"there is no callback {callback}")
    callbacks = [{"callback": callback, "context": context or {}}] if callback else []
    parameters = {
        "party": Party(party).value,
        "topics": sorted(set(topics)),
        "callbacks": Jsonb(callbacks),
        "now": clock.now(),
    }
    _change_topics(party, _WANT, parameters=parameters)


def unsubscribe(party: Party, topics: Sequence[str]) -> None:
    """Have the gateway unsubscribe ``topics``, in the caller's transaction."""
    if not topics:
        return
    _check_topics(topics)
    parameters = {
        "party": Party(party).value,
        "topics": list(topics),
        "now": clock.now(),
    }
    _change_topics(party, _UNWANT, parameters=parameters)


def _change_topics(party: Party, statement: str, *, parameters: dict[str, Any]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        changed = cursor.rowcount
        failpoint("topics.before_commit")
        if changed:
            wake(topics_channel(party))


def _check_topics(topics: Sequence[str]) -> None:
    if isinstance(topics, str) or not all(map(_TOPIC.fullmatch, topics)):
        raise ValueError("topics are 64 lower-case hex digits each")
