"""Telling webhooks: claim what is due, send it, write down what came of it.

reliability.md, items 4 and 22. Three stretches, and only the middle one is slow: rows are
claimed with a lease in one statement, sent side by side outside any transaction, and their
outcome is written in one transaction that holds only while the claim does. A worker that
dies leaves its rows to the next one when the lease ends.
"""

from __future__ import annotations

import base64
import contextvars
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from standardwebhooks import Webhook as Signature

from accounts.services import audit
from castserver.models import Webhook, WebhookAttempt, WebhookDelivery
from castserver.services.webhooks import signing_secrets
from groundwork import clock, entropy, outbound
from groundwork.failpoints import failpoint
from keychain.services import KeychainError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

# The wait after the first failed attempt, the second, and so on; then it is over.
SCHEDULE: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
LONGEST_RETRY_AFTER: Final = timedelta(hours=24)
DEAD_AFTER: Final = timedelta(days=5)
# Above the deadline of one request, below the patience of a dapp owner.
LEASE: Final = timedelta(seconds=60)
BATCH: Final = 16
SLOTS_PER_PROJECT: Final = 4
CLAIM_LOCK: Final = 0x77656268
GONE: Final = 410

_CLAIM: Final = """
WITH due AS (
    SELECT d.id, d.next_attempt_at, row_number() OVER (
        PARTITION BY w.project_id ORDER BY d.next_attempt_at, d.id
    ) + (
        SELECT count(*) FROM castserver_webhookdelivery f
        JOIN castserver_webhook v ON v.id = f.webhook_id
        WHERE v.project_id = w.project_id AND f.state = 'due'
            AND f.leased_until > %(now)s
    ) AS slot
    FROM castserver_webhookdelivery d JOIN castserver_webhook w ON w.id = d.webhook_id
    WHERE d.state = 'due' AND d.next_attempt_at <= %(now)s AND w.disabled_at IS NULL
        AND (d.leased_until IS NULL OR d.leased_until <= %(now)s)
), chosen AS (
    SELECT id FROM due WHERE slot <= %(slots)s ORDER BY next_attempt_at LIMIT %(batch)s
)
UPDATE castserver_webhookdelivery SET attempts = attempts + 1, leased_until = %(until)s
WHERE id IN (SELECT id FROM chosen) RETURNING id
"""

_RECORD: Final = """
UPDATE castserver_webhookdelivery AS d SET
    state = v.state, next_attempt_at = v.next_attempt_at, leased_until = NULL,
    last_status = v.status, reason = v.reason, delivered_at = v.delivered_at
FROM unnest(
    %s::uuid[], %s::int[], %s::text[], %s::timestamptz[], %s::int[], %s::text[],
    %s::timestamptz[]
) AS v(id, attempts, state, next_attempt_at, status, reason, delivered_at)
WHERE d.id = v.id AND d.attempts = v.attempts AND d.state = 'due' RETURNING d.id
"""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One claimed event, ready to be sent."""

    delivery_id: UUID
    webhook_id: UUID
    attempt: int
    url: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt. ``status`` is None when there was no HTTP answer."""

    outgoing: Outgoing
    at: datetime
    milliseconds: int
    status: int | None
    reason: str
    retry_after: timedelta | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def state(self) -> str:
        if self.delivered:
            return WebhookDelivery.State.DELIVERED.value
        if self.status == GONE or self.outgoing.attempt > len(SCHEDULE):
            return WebhookDelivery.State.FAILED.value
        return WebhookDelivery.State.DUE.value

    @property
    def next_attempt_at(self) -> datetime:
        if self.state != WebhookDelivery.State.DUE.value:
            return self.at
        wait = SCHEDULE[self.outgoing.attempt - 1]
        jittered = timedelta(seconds=entropy.jitter(wait.total_seconds()))
        return self.at + max(jittered, self.retry_after or timedelta())


def deliver_due_webhooks() -> int:
    """Send one batch of due events; how many were tried. Call again while it is full."""
    claimed = _claim()
    if not claimed:
        return 0
    failpoint("webhooks.after_claim")
    outcomes = _send_all(_prepare(claimed))
    failpoint("webhooks.before_record")
    _record(outcomes)
    return len(claimed)


def _claim() -> list[UUID]:
    now = clock.now()
    with transaction.atomic(), connection.cursor() as cursor:
        # One claimer at a time, or two would both find the same slots free.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])
        cursor.execute(
            _CLAIM,
            {
                "now": now,
                "until": now + LEASE,
                "slots": SLOTS_PER_PROJECT,
                "batch": BATCH,
            },
        )
        return [row[0] for row in cursor.fetchall()]


def _prepare(claimed: list[UUID]) -> list[Outgoing]:
    deliveries = WebhookDelivery.objects.select_related("webhook").filter(
        pk__in=claimed
    )
    return [_outgoing(delivery) for delivery in deliveries]


def _outgoing(delivery: WebhookDelivery) -> Outgoing:
    return Outgoing(
        delivery_id=delivery.pk,
        webhook_id=delivery.webhook_id,
        attempt=delivery.attempts,
        url=delivery.webhook.url,
        body=delivery.body.encode(),
        headers=_signed_headers(delivery),
    )


def _signed_headers(delivery: WebhookDelivery) -> dict[str, str]:
    at = clock.now()
    webhook_id = str(delivery.pk)
    try:
        keys = signing_secrets(delivery.webhook)
    except KeychainError:
        # Sent unsigned it would be worse than late: the receiver must refuse it.
        keys = []
    signatures = [
        Signature(base64.b64encode(key).decode()).sign(webhook_id, at, delivery.body)
        for key in keys
    ]
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _send_all(outgoing: Sequence[Outgoing]) -> list[Outcome]:
    if not outgoing:
        return []
    with ThreadPoolExecutor(len(outgoing), thread_name_prefix="webhook") as threads:
        # Each thread sees the clock of this one.
        tries = [
            threads.submit(contextvars.copy_context().run, _send, each)
            for each in outgoing
        ]
        return [each.result() for each in tries]


def _send(outgoing: Outgoing) -> Outcome:
    began = clock.monotonic()
    status, reason, retry_after = None, "", None
    try:
        if not outgoing.headers["webhook-signature"]:
            raise outbound.OutboundRefused("the webhook's secret cannot be opened")
        answer = outbound.fetch(
            "POST",
            outgoing.url,
            content=outgoing.body,
            headers=outgoing.headers,
            max_bytes=settings.LIMITS.webhook_read_bytes,
            deadline=settings.LIMITS.webhook_deadline_s,
            truncate=True,
        )
        status = answer.status
        reason = "" if answer.ok else f"answered {answer.status}"
        retry_after = _retry_after(answer)
    except outbound.OutboundError as error:
        reason = str(error)[:200]
    return Outcome(
        outgoing=outgoing,
        at=clock.now(),
        milliseconds=round((clock.monotonic() - began) * 1000),
        status=status,
        reason=reason,
        retry_after=retry_after,
    )


def _retry_after(answer: outbound.Response) -> timedelta | None:
    """``Retry-After`` in seconds or as a date, within reason."""
    text = answer.headers.get("retry-after", "").strip()
    if not text or answer.ok:
        return None
    if text.isdecimal() and len(text) < 10:
        wait = timedelta(seconds=int(text))
    else:
        try:
            wait = parsedate_to_datetime(text) - clock.now()
        except (TypeError, ValueError):
            return None
    return max(timedelta(), min(wait, LONGEST_RETRY_AFTER))


# --- what came of it ------------------------------------------------------------------


def _record(outcomes: list[Outcome]) -> None:
    with transaction.atomic():
        ours = _write_outcomes(outcomes)
        counted = [each for each in outcomes if each.outgoing.delivery_id in ours]
        WebhookAttempt.objects.bulk_create(
            [
                WebhookAttempt(
                    delivery_id=each.outgoing.delivery_id,
                    number=each.outgoing.attempt,
                    at=each.at,
                    milliseconds=each.milliseconds,
                    status=each.status,
                    reason=each.reason,
                )
                for each in counted
            ],
            ignore_conflicts=True,
        )
        _judge_webhooks(counted)


def _write_outcomes(outcomes: list[Outcome]) -> set[UUID]:
    """Which outcomes were still wanted: not those of a lost lease or a gone webhook."""
    with connection.cursor() as cursor:
        cursor.execute(
            _RECORD,
            [
                [each.outgoing.delivery_id for each in outcomes],
                [each.outgoing.attempt for each in outcomes],
                [each.state for each in outcomes],
                [each.next_attempt_at for each in outcomes],
                [each.status for each in outcomes],
                [each.reason for each in outcomes],
                [each.at if each.delivered else None for each in outcomes],
            ],
        )
        return {row[0] for row in cursor.fetchall()}


def _judge_webhooks(outcomes: list[Outcome]) -> None:
    if not outcomes:
        return
    now = clock.now()
    healthy = {each.outgoing.webhook_id for each in outcomes if each.delivered}
    gone = {each.outgoing.webhook_id for each in outcomes if each.status == GONE}
    failing = {each.outgoing.webhook_id for each in outcomes} - healthy
    Webhook.objects.filter(pk__in=healthy).exclude(failing_since=None).update(
        failing_since=None
    )
    Webhook.objects.filter(pk__in=failing, failing_since=None).update(failing_since=now)
    _disable(Q(pk__in=gone), "the receiver answered 410 Gone")
    _disable(
        Q(pk__in=failing, failing_since__lte=now - DEAD_AFTER),
        f"no event was delivered for {DEAD_AFTER.days} days",
    )


def _disable(which: Q, reason: str) -> None:
    rows = list(
        Webhook.objects.select_for_update().filter(which, disabled_at=None).values("pk")
    )
    ids = [row["pk"] for row in rows]
    if not ids:
        return
    Webhook.objects.filter(pk__in=ids).update(
        disabled_at=clock.now(), disabled_reason=reason
    )
    WebhookDelivery.objects.filter(
        webhook_id__in=ids, state=WebhookDelivery.State.DUE
    ).update(
        state=WebhookDelivery.State.CANCELLED,
        reason="the webhook was disabled",
        leased_until=None,
    )
    for webhook_id in ids:
        audit("webhook.disabled", subject=str(webhook_id), detail=reason)
