"""How many accounts are subscribed to each project and allow each type, by day."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

from django.db import connection, transaction

from castserver.models import SubscriberCount
from common import clock

if TYPE_CHECKING:
    from datetime import datetime

COUNT_TASK: Final = "castserver.count_subscribers"

# One pass over the live subscriptions. The empty type is for all accounts.
_COUNT: Final = """
INSERT INTO castserver_subscribercount (project_id, day, type_id, number)
SELECT s.project_id, %(day)s, t.type_id, count(DISTINCT s.account_key)
FROM castserver_subscriber s
CROSS JOIN LATERAL (
    SELECT '' AS type_id
    UNION ALL SELECT jsonb_array_elements_text(s.scope)
) t
WHERE s.deleted_at IS NULL AND s.expires_at > %(now)s
GROUP BY s.project_id, t.type_id
ON CONFLICT (project_id, day, type_id) DO UPDATE SET number = EXCLUDED.number
"""


def today() -> datetime:
    """Midnight UTC, as the numbers of a day are stored under."""
    now = clock.now().astimezone(UTC)
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


@transaction.atomic
def count_subscribers() -> int:
    """Store the numbers of today, or replace an earlier count of today."""
    day = today()
    with connection.cursor() as cursor:
        # A type that is no longer allowed must not keep the number of an earlier count.
        SubscriberCount.objects.filter(day=day).update(number=0)
        cursor.execute(_COUNT, {"day": day, "now": clock.now()})
        return int(cursor.rowcount)
