"""Keeping the documents of subscribed dapps up to date. Uses the network.

A subscription that came through Sync has only its dapp's URL; the key that its notifications
are signed with is read from the dapp's did.json here. Documents of subscribed dapps are read
again when they expire.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction
from django.db.models import OuterRef, Subquery

from accounts.services import EventKind, record_events
from common import clock
from common.dapp_documents import read_dapp
from common.drain import drain
from common.wake import enqueue_on_commit
from subscriptions.models import (
    URL_LENGTH,
    DappDocument,
    Subscription,
    SubscriptionJob,
)
from subscriptions.services.dapps.documents import is_reachable, keep_readings
from subscriptions.services.subscribe.adoption import REPLAY_TASK
from subscriptions.services.wallet import subscription_event

SLOTS: Final = 16
PAGE: Final = 200
LEARN_BATCH_SIZE: Final = 500

# Dapps whose documents are due, in turns: of every user first the dapp that was read
# longest ago, then the next. So one user's dapps, however many or slow, do not delay those
# of others. ``unknown`` selects only dapps whose key is missing.
_DUE: Final = """
SELECT dapp_url FROM (
    SELECT dapp_url, checked_at, row_number() OVER (
        PARTITION BY user_id ORDER BY checked_at NULLS FIRST, dapp_url
    ) AS turn
    FROM (
        SELECT DISTINCT account.user_id, subscription.dapp_url, document.checked_at
        FROM subscriptions_subscription AS subscription
        JOIN accounts_account AS account ON account.id = subscription.account_id
        LEFT JOIN subscriptions_dappdocument AS document
            ON document.url = subscription.dapp_url
        WHERE subscription.deleted_at IS NULL
            AND length(subscription.dapp_url) <= %(max_length)s
            AND (document.expires_at IS NULL OR document.expires_at <= %(now)s)
            AND CASE WHEN %(unknown)s THEN subscription.dapp_authentication_did = ''
                ELSE document.id IS NOT NULL END
    ) AS due
) AS ranked
WHERE NOT dapp_url = ANY(%(taken)s)
GROUP BY dapp_url ORDER BY min(turn), min(checked_at) NULLS FIRST, dapp_url
LIMIT %(limit)s
"""


def learn_dapps() -> int:
    """Set the key of the dapp where it is missing; returns how many rows got one.

    After a document that cannot be read, the sweep tries again in two minutes.
    """
    _read_due(unknown=True)
    count = 0
    while learnt := _keep_learnt():
        count += learnt
    return count


def recheck_documents() -> int:
    """Read expired documents of subscribed dapps again; returns how many."""
    return _read_due(unknown=False)


def _read_due(*, unknown: bool) -> int:
    taken: list[str] = []
    waiting: list[str] = []

    def claim(limit: int) -> list[str]:
        if not waiting:
            found = _due_urls(taken, unknown=unknown)
            taken.extend(found)
            waiting.extend(url for url in found if is_reachable(url))
        claimed = waiting[:limit]
        del waiting[:limit]
        return claimed

    return drain(claim, read_dapp, keep_readings, slots=SLOTS)


def _due_urls(taken: list[str], *, unknown: bool) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            _DUE,
            {
                "now": clock.now(),
                "unknown": unknown,
                "taken": taken,
                "max_length": URL_LENGTH,
                "limit": PAGE,
            },
        )
        return [url for (url,) in cursor.fetchall()]


@transaction.atomic
def _keep_learnt() -> int:
    known = DappDocument.objects.exclude(public_key_x="").filter(
        changed_keys__isnull=True
    )
    rows = list(
        Subscription.objects.active()
        .locked(skip=True)
        .filter(dapp_authentication_did="")
        .annotate(
            learnt_did=Subquery(
                known.filter(url=OuterRef("dapp_url")).values("authentication_key")
            )
        )
        .exclude(learnt_did=None)[:LEARN_BATCH_SIZE]
    )
    for row in rows:
        # An annotation of the query.
        row.dapp_authentication_did = row.learnt_did  # type: ignore[attr-defined]
    Subscription.objects.bulk_update(rows, ["dapp_authentication_did"])
    if rows:
        # Replays notifications that could not be verified until now.
        SubscriptionJob.objects.schedule(SubscriptionJob.Kind.HISTORY, rows)
        enqueue_on_commit(REPLAY_TASK)
    record_events([subscription_event(EventKind.SUBSCRIPTION, row) for row in rows])
    return len(rows)
