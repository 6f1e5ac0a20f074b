"""What a party wants from its relay: messages to publish and topics to hear.

Both are rows, written in the transaction of the state change that wants them
(reliability.md, items 1 and 3). The exact bytes are stored and sent until the relay
has acknowledged them; sealing again would make a second message. The gateway
(``messaging.gateway``) makes it so, and a wake-up after commit only saves it the wait.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from common import clock
from common.cursors import column_cursor
from common.failpoints import failpoint
from common.wake import wake
from messaging.models import Party
from runlog.services import StepDraft

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from walletconnect.relay.messages import Publication

_TOPIC = re.compile(r"[0-9a-f]{64}")

# What each step on a relay topic is called in the record of a run.
_TOPIC_STEP_ACTORS: Final = {7: "W1", 17: "W1", 20: "Wx"}
_TOPIC_STEP_WIRE: Final = {"method": "irn_subscribe"}

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
SELECT %(party)s, topic, 'wanted', %(steps)s, %(now)s, NULL
FROM unnest(%(topics)s::text[]) AS topic ORDER BY topic
ON CONFLICT (party, topic) DO UPDATE SET
    state = 'wanted',
    -- One that was given up may find its lane full.
    lane = CASE WHEN kept.state = 'wanted' THEN kept.lane END,
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
    """Refuse what no relay would take, while the caller can still see why."""
    if not _TOPIC.fullmatch(publication.topic):
        raise ValueError("a topic is 64 lower-case hex digits")
    message = publication.message
    if not (message.isascii() and message.isprintable()):
        raise ValueError("a message is base64 text")
    limits = settings.LIMITS
    if len(message) > limits.relay_message_bytes:
        raise ValueError(f"a message of {len(message)} bytes is too large")
    if not limits.ttl_min_s <= publication.ttl <= limits.ttl_max_s:
        raise ValueError(f"no relay keeps a message for {publication.ttl} s")


def outbox_channel(party: Party) -> str:
    """The wake-up channel on which the gateway hears of new outbox rows."""
    return f"outbox.{Party(party).value}"


def topics_channel(party: Party) -> str:
    """The wake-up channel on which the gateway hears of changed topics."""
    return f"topics.{Party(party).value}"


def publish_all(party: Party, publications: Iterable[Publication]) -> list[int]:
    """Store messages to publish, in this order per topic, in the caller's transaction.

    The answer is the keys of the new rows, in the order given.
    """
    given = list(publications)
    if not given:
        return []
    for publication in given:
        _check(publication)
    with column_cursor() as cursor:
        cursor.execute(_INSERT, _insert_parameters(party, given))
        keys = [pk for (pk,) in cursor.fetchall()]
    failpoint("outbox.before_commit")
    wake(outbox_channel(party))
    return keys


def _insert_parameters(
    party: Party, publications: Sequence[Publication]
) -> dict[str, Any]:
    return {
        "party": Party(party).value,
        "now": clock.now(),
        "topics": [each.topic for each in publications],
        "message_ids": [each.message_id for each in publications],
        "messages": [each.message for each in publications],
        "tags": [int(each.tag) for each in publications],
        "ttls": [each.ttl for each in publications],
        "prompts": [each.prompt for each in publications],
    }


def subscribe(
    party: Party,
    topics: Sequence[str],
    *,
    run: str = "",
    step: int | None = None,
    account_id: int | None = None,
    actor_key: str = "",
) -> None:
    """Want ``topics``, in the caller's transaction; wanting twice is wanting once.

    With ``run`` and ``step`` (7, 17 or 20), the step is recorded when the relay has
    confirmed the topic.
    """
    if not topics:
        return
    _check_topics(topics)
    drafts = []
    if run and step is not None:
        drafts = [
            StepDraft(
                run,
                step,
                actor=_TOPIC_STEP_ACTORS[step],
                wire=_TOPIC_STEP_WIRE,
                account_id=account_id,
                actor_key=actor_key,
            ).to_value()
        ]
    parameters = {
        "party": Party(party).value,
        "topics": sorted(set(topics)),
        "steps": Jsonb(drafts),
        "now": clock.now(),
    }
    _change_topics(party, _WANT, parameters=parameters)


def unsubscribe(party: Party, topics: Sequence[str]) -> None:
    """Stop wanting ``topics``, in the caller's transaction."""
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
