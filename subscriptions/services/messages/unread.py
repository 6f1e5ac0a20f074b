"""Unread notifications, counted up to a bound.

A user may have any number of them, so counting stops where a page shows "999+". The index of
unread notifications gives the newest of a subscription without a look at the rest, whatever the
planner's statistics expect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Collection

# As ``NotifyMessageRecordQuerySet.unread``.
_NEWEST: Final = """
    SELECT record.id FROM subscriptions_notifymessagerecord record
    WHERE record.subscription_id = subscription.id AND record.read_at IS NULL
        AND record.archived_at IS NULL AND record.snoozed_until IS NULL
        AND record.deleted_at IS NULL
    ORDER BY record.published_at DESC, record.id DESC LIMIT %(most)s
"""
_OF_USERS: Final = f"""
SELECT wanted.id, (
    SELECT count(*) FROM (
        SELECT FROM accounts_account account
        JOIN subscriptions_subscription subscription
            ON subscription.account_id = account.id
        CROSS JOIN LATERAL ({_NEWEST}) newest
        WHERE account.user_id = wanted.id
        LIMIT %(most)s
    ) unread
)
FROM unnest(%(ids)s::bigint[]) AS wanted (id)
"""  # noqa: S608  (constants)
_OF_SUBSCRIPTIONS: Final = f"""
SELECT subscription.id, (SELECT count(*) FROM ({_NEWEST}) newest)
FROM unnest(%(ids)s::bigint[]) AS subscription (id)
"""  # noqa: S608  (constants)


def unread_of_users(user_ids: Collection[int], *, most: int) -> dict[int, int]:
    """How many unread notifications each user has, at most ``most``; one query."""
    return _counted(_OF_USERS, user_ids, most)


def unread_of_subscriptions(pks: Collection[int], *, most: int) -> dict[int, int]:
    """As ``unread_of_users``, for each subscription."""
    return _counted(_OF_SUBSCRIPTIONS, pks, most)


def _counted(statement: str, ids: Collection[int], most: int) -> dict[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"ids": list(ids), "most": most})
        return dict(cursor.fetchall())
