"""The statements of the relay. Each serves a batch and is one round trip.

Arrays are sent in binary form (``%b``), which PostgreSQL reads faster than text. Times are
milliseconds.
"""

from __future__ import annotations

# A log that starts anew begins at the present microsecond (`genesis`): numbers do not
# repeat, also when the table was emptied under a running relay. Returns the number before
# the first, and which numbers became messages, or null for all of them.
APPEND = """
WITH log AS (
    INSERT INTO relay_relaylog AS log (id, head) VALUES (1, %(genesis)b::bigint + %(count)b::bigint)
    ON CONFLICT (id) DO UPDATE SET head = log.head + %(count)b::bigint
    RETURNING head - %(count)b::bigint AS base
), appended AS (
    INSERT INTO relay_publishedmessage AS kept
        (id, topic, message_id, message, tag, attestation, publisher,
         published_at, expires_at)
    SELECT log.base + draft.number, draft.topic, draft.message_id, draft.message,
           draft.tag, draft.attestation, draft.publisher, draft.published_at,
           draft.expires_at
    FROM log, unnest(%(topic)b::text[], %(message_id)b::text[], %(message)b::text[], %(tag)b::bigint[], %(attestation)b::text[],
                     %(publisher)b::text[], %(published_at)b::bigint[], %(expires_at)b::bigint[]) WITH ORDINALITY AS draft
        (topic, message_id, message, tag, attestation, publisher, published_at,
         expires_at, number)
    ON CONFLICT ON CONSTRAINT published_message_is_unique DO UPDATE
    SET id = excluded.id, tag = excluded.tag, attestation = excluded.attestation,
        publisher = excluded.publisher, published_at = excluded.published_at,
        expires_at = excluded.expires_at
    WHERE kept.expires_at <= %(now)b::bigint
    RETURNING kept.id
), counted AS (
    SELECT count(*) AS count, array_agg(id) AS ids FROM appended
)
SELECT log.base,
       CASE WHEN counted.count < %(count)b::bigint
            THEN coalesce(counted.ids, '{}') END
FROM log, counted
"""

HEAD = "SELECT head FROM relay_relaylog WHERE id = 1"

BEGIN_LOG = """
INSERT INTO relay_relaylog AS log (id, head) VALUES (1, %(genesis)s)
ON CONFLICT (id) DO UPDATE SET head = log.head
RETURNING head
"""

# Topic after topic, each in publish order. Cursor and acknowledgements belong to a client,
# which may have several connections: they do not apply to messages that were published
# after the reading connection has subscribed (`joined_at`). The rows examined are limited by
# number, the rows returned by size; sizes are read without the messages (TOAST). The last
# column is true if rows may be left.
PAGE = """
SELECT id, topic, publisher, message, tag, attestation, published_at,
       upto < whole OR looked_at = %(rows)s
FROM (
    SELECT kept.*,
           sum(size) OVER (ORDER BY place, id ROWS UNBOUNDED PRECEDING) AS upto,
           row_number() OVER (ORDER BY place, id) AS number,
           sum(size) OVER () AS whole, count(*) OVER () AS looked_at
    FROM (
        SELECT kept.*, wanted.place
        FROM unnest(%(topics)b::text[], %(after)b::bigint[], %(joined_at)b::bigint[])
            WITH ORDINALITY AS wanted (topic, after, joined_at, place)
        CROSS JOIN LATERAL (
            SELECT id, topic, publisher, message, tag, attestation, published_at,
                   octet_length(message) + 200 AS size
            FROM relay_publishedmessage message
            WHERE message.topic = wanted.topic
              AND message.id > greatest(wanted.after, least(wanted.joined_at, coalesce((
                  SELECT through FROM relay_mailboxcursor mailbox
                  WHERE mailbox.topic = wanted.topic AND mailbox.client = %(client)s
              ), 0)))
              AND message.expires_at > %(now)s
              AND message.publisher <> %(client)s
              AND (message.id > wanted.joined_at OR NOT EXISTS (
                  SELECT FROM relay_acknowledgement acknowledged
                  WHERE acknowledged.topic = wanted.topic
                    AND acknowledged.client = %(client)s
                    AND acknowledged.published_id = message.id
              ))
            ORDER BY message.id
            LIMIT %(rows)s
        ) AS kept
        LIMIT %(rows)s
    ) AS kept
) AS page
WHERE upto <= %(budget)s OR number = 1
ORDER BY number
"""

BETWEEN = """
SELECT id, topic, publisher, message, tag, attestation, published_at,
       upto < whole OR looked_at = %(rows)s
FROM (
    SELECT kept.*,
           sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS upto,
           row_number() OVER (ORDER BY id) AS number,
           sum(size) OVER () AS whole, count(*) OVER () AS looked_at
    FROM (
        SELECT id, topic, publisher, message, tag, attestation, published_at,
               octet_length(message) AS size
        FROM relay_publishedmessage
        WHERE id > %(after)s AND id <= %(upto)s AND expires_at > %(now)s
          AND topic = ANY(%(topics)b::text[])
        ORDER BY id
        LIMIT %(rows)s
    ) AS kept
) AS page
WHERE upto <= %(budget)s OR number = 1
ORDER BY number
"""

MOVE_CURSORS = """
INSERT INTO relay_mailboxcursor AS kept (topic, client, through)
SELECT topic, client, through
FROM unnest(%(topics)b::text[], %(clients)b::text[], %(through)b::bigint[])
    AS moved (topic, client, through)
ORDER BY topic, client
ON CONFLICT (topic, client) DO UPDATE
SET through = excluded.through WHERE kept.through < excluded.through
"""

ACKNOWLEDGE = """
INSERT INTO relay_acknowledgement (topic, client, published_id)
SELECT topic, client, published_id
FROM unnest(%(topics)b::text[], %(clients)b::text[], %(ids)b::bigint[])
    AS acknowledged (topic, client, published_id)
ORDER BY topic, client, published_id
ON CONFLICT DO NOTHING
"""

TIDY = """
DELETE FROM relay_acknowledgement kept
USING unnest(%(topics)b::text[], %(clients)b::text[], %(through)b::bigint[])
    AS moved (topic, client, through)
WHERE kept.topic = moved.topic AND kept.client = moved.client
  AND kept.published_id <= moved.through
"""

RECEIVE = """
WITH received AS (
    SELECT kept.topic, kept.id
    FROM unnest(%(topics)b::text[], %(message_ids)b::text[])
        AS receipt (topic, message_id)
    JOIN relay_publishedmessage kept USING (topic, message_id)
), acknowledged AS (
    INSERT INTO relay_acknowledgement (topic, client, published_id)
    SELECT DISTINCT topic, %(client)s, id FROM received
    ON CONFLICT DO NOTHING
)
SELECT topic, id FROM received
"""

# Stored messages beyond the farthest acknowledgement of any client.
UNREAD = """
SELECT wanted.topic, count(kept.size), coalesce(sum(kept.size), 0)
FROM unnest(%(topics)b::text[]) AS wanted (topic)
LEFT JOIN LATERAL (
    SELECT octet_length(message) AS size
    FROM relay_publishedmessage message
    WHERE message.topic = wanted.topic
      AND message.id > coalesce((
          SELECT max(through) FROM relay_mailboxcursor mailbox
          WHERE mailbox.topic = wanted.topic
      ), 0)
      AND message.expires_at > %(now)s
    ORDER BY message.id
    LIMIT %(rows)s
) AS kept ON true
GROUP BY wanted.topic
"""
