"""Delivery of webhooks: claim what is due, send it, record the result.

One process sends up to 32 at a time. Each project, owner and host has a few of these
slots, so a host that accepts connections and never answers occupies its own until the
deadline and delays no one else's events.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from standardwebhooks import Webhook as Signature

from accounts.services import audit
from castserver.models import Webhook, WebhookAttempt, WebhookDelivery
from castserver.services.projects.owners import owner_of
from castserver.services.webhooks.webhooks import signing_secrets
from common import clock, counters
from common.attempts import Attempt, observe_attempts, post
from common.backoff import Backoff
from common.bidi import neutralize
from common.drain import drain
from common.failpoints import failpoint
from common.work_queue import host_of
from keychain.services import KeychainError

BACKOFF: Final = Backoff(
    steps_s=(5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24)))
)
DEAD_AFTER: Final = timedelta(days=5)
# Above the deadline of one request (15 s), with room for recording the result.
LEASE: Final = timedelta(seconds=60)
GONE: Final = 410
EXCERPT_LENGTH: Final = 500


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One claimed event, ready to be sent."""

    delivery: WebhookDelivery
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    delivery: WebhookDelivery
    at: datetime
    attempt: Attempt
    reason: str


def deliver_due_webhooks() -> int:
    """Send due events until none is left or time is up; returns the number of attempts."""
    return drain(_claim, _send, _record, slots=settings.LIMITS.webhook_deliveries)


def _claim(limit: int) -> list[Outgoing]:
    due = WebhookDelivery.objects.filter(webhook__disabled_at=None)
    claimed = (
        due.annotate(owner=owner_of("webhook__project"), host=host_of("webhook__url"))
        .select_related("webhook")
        .claim(
            limit,
            owner="owner",
            lease=LEASE,
            max_in_flight=settings.LIMITS.webhook_deliveries,
            caps={
                "owner": settings.LIMITS.webhook_deliveries_per_owner,
                "webhook__project_id": settings.LIMITS.webhook_deliveries_per_project,
                "host": settings.LIMITS.webhook_deliveries_per_host,
            },
        )
    )
    if claimed:
        failpoint("webhooks.after_claim")
    return [Outgoing(delivery, _signed_headers(delivery)) for delivery in claimed]


def _signed_headers(delivery: WebhookDelivery) -> dict[str, str]:
    at = clock.now()
    webhook_id = str(delivery.pk)
    try:
        keys = signing_secrets(delivery.webhook)
    except KeychainError:
        # Not sent unsigned: the receiver would reject it for good.
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


def _send(outgoing: Outgoing) -> Outcome:
    delivery = outgoing.delivery
    if outgoing.headers["webhook-signature"]:
        attempt = post(
            delivery.webhook.url,
            content=delivery.body.encode(),
            headers=outgoing.headers,
        )
    else:
        attempt = Attempt(error="the webhook's secret cannot be opened")
    reason = attempt.error
    if attempt.status is not None and not attempt.is_accepted:
        reason = f"answered {attempt.status}"
    return Outcome(delivery, clock.now(), attempt, reason[:200])


def _excerpt(body: bytes) -> str:
    # A character has at most four bytes. NUL cannot be stored.
    text = body[: 4 * EXCERPT_LENGTH].decode(errors="replace").replace("\0", "\ufffd")
    return neutralize(text)[:EXCERPT_LENGTH]


# --- results --------------------------------------------------------------------------


def _record(outcomes: list[Outcome]) -> None:
    failpoint("webhooks.before_record")
    with transaction.atomic():
        # False after the lease was lost or the webhook deleted: another attempt counts.
        counted = [each for each in outcomes if _settle(each)]
        WebhookAttempt.objects.bulk_create(
            [
                WebhookAttempt(
                    delivery_id=each.delivery.pk,
                    number=each.delivery.attempts,
                    at=each.at,
                    milliseconds=round((each.attempt.seconds or 0) * 1000),
                    status=each.attempt.status,
                    reason=each.reason,
                    excerpt=_excerpt(each.attempt.body),
                )
                for each in counted
            ],
            ignore_conflicts=True,
        )
        _update_health(counted)
        delivered = sum(each.attempt.is_accepted for each in counted)
        counters.count(
            "webhook_attempts",
            {"delivered": delivered, "failed": len(counted) - delivered},
        )
        observe_attempts("webhook", [each.attempt for each in counted])


def _settle(outcome: Outcome) -> bool:
    delivery, attempt = outcome.delivery, outcome.attempt
    if attempt.is_accepted:
        return delivery.finish(
            state=WebhookDelivery.State.DELIVERED,
            last_status=attempt.status,
            delivered_at=outcome.at,
        )
    if attempt.status == GONE or BACKOFF.is_over(delivery.attempts):
        return delivery.finish(
            state=WebhookDelivery.State.FAILED,
            last_status=attempt.status,
            reason=outcome.reason,
        )
    return delivery.retry_later(
        BACKOFF,
        outcome.reason,
        not_before=attempt.not_before,
        last_status=attempt.status,
    )


def _update_health(outcomes: list[Outcome]) -> None:
    if not outcomes:
        return
    now = clock.now()
    healthy = {
        each.delivery.webhook_id for each in outcomes if each.attempt.is_accepted
    }
    gone = {
        each.delivery.webhook_id for each in outcomes if each.attempt.status == GONE
    }
    failing = {each.delivery.webhook_id for each in outcomes} - healthy
    Webhook.objects.filter(pk__in=healthy).exclude(failing_since=None).update(
        failing_since=None
    )
    Webhook.objects.filter(pk__in=failing, failing_since=None).update(failing_since=now)
    _disable(Q(pk__in=gone), "the receiver answered 410 Gone")
    # A webhook with an attempt still running is judged after that one.
    in_flight = WebhookDelivery.objects.leased().values("webhook_id")
    _disable(
        Q(pk__in=failing, failing_since__lte=now - DEAD_AFTER) & ~Q(pk__in=in_flight),
        f"no event was delivered for {DEAD_AFTER.days} days",
    )


def _disable(which: Q, reason: str) -> None:
    found = Webhook.objects.select_for_update().filter(which, disabled_at=None)
    ids = list(found.values_list("pk", flat=True))
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
        next_attempt_at=None,
        leased_until=None,
        leased_by=None,
    )
    for webhook_id in ids:
        audit("webhook.disabled", subject=str(webhook_id), detail=reason)
