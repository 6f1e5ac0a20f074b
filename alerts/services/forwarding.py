"""Forwarding: every notification to a service of the person's own.

ntfy (https://docs.ntfy.sh/publish/#publish-as-json), Gotify (`POST /message`) or JSON to any
URL. All through the guarded HTTP client, from the outbound worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.models import User
from accounts.services import audit
from alerts.models import Forward, ForwardDelivery
from common import bidi, clock, counters, outbound, retention
from common.attempts import Attempt, observe_attempts, post
from common.backoff import Backoff
from common.drain import drain
from common.wake import enqueue_on_commit
from common.work_queue import NO_WORK, host_of, in_batches
from keychain.services import (
    Holder,
    KeychainError,
    SecretNotFound,
    forget,
    put_secret,
    secret,
)

if TYPE_CHECKING:
    from subscriptions.models import NotifyMessageRecord

SEND_TASK: Final = "alerts.send_forwards"
BACKOFF: Final = Backoff(first_s=10, max_s=6 * 3_600, max_attempts=12)
LEASE: Final = timedelta(seconds=60)
MAX_TOKEN_CHARS: Final = 512
DISABLED_AFTER: Final = timedelta(days=5)
GONE: Final = 410


class ForwardError(ValueError):
    """The forward cannot be stored; the text is for the person who entered it."""


# --- settings ---------------------------------------------------------------------------


def add_forward(user: User, kind: str, url: str, token: str = "") -> Forward:
    """Store a forward. ``url``: ntfy's topic, Gotify's address, or where JSON goes.

    ``token`` is sent as bearer token (ntfy, webhook) or as ``X-Gotify-Key``.
    """
    if kind not in Forward.Kind:
        raise ForwardError("choose ntfy, Gotify or a webhook")
    url, token = url.strip(), token.strip()
    if not token.isascii() or not token.isprintable() or len(token) > MAX_TOKEN_CHARS:
        raise ForwardError(
            f"the token has at most {MAX_TOKEN_CHARS} characters, ASCII only"
        )
    try:
        outbound.check_url(url)
        if kind == Forward.Kind.NTFY and not _ntfy_topic(url):
            raise ForwardError(
                "give the address with the topic, such as https://ntfy.sh/my-topic"
            )
    except outbound.OutboundRefused as error:
        raise ForwardError(str(error)) from None
    with transaction.atomic():
        # Orders additions of one person, so that the limit holds.
        User.objects.select_for_update().get(pk=user.pk)
        if user.forwards.count() >= settings.LIMITS.forwards_per_user:
            raise ForwardError(
                f"there can be at most {settings.LIMITS.forwards_per_user} forwards"
            )
        forward = Forward.objects.create(
            user=user, kind=kind, url=url, created_at=clock.now()
        )
        if token:
            put_secret(Holder.ALERTS, _secret_name(forward), token.encode())
        # An ntfy topic or a webhook's path is a credential: only the host is recorded.
        detail = f"{kind} {urlsplit(url).hostname}"
        audit("forward.added", actor=user, subject=str(forward.pk), detail=detail)
    return forward


def forward_of(user: User, forward_id: str) -> Forward | None:
    try:
        return user.forwards.filter(pk=forward_id).first()
    except (ValueError, ValidationError):
        return None


def remove_forward(forward: Forward) -> None:
    with transaction.atomic():
        forget(Holder.ALERTS, [_secret_name(forward)])
        audit("forward.removed", actor=forward.user, subject=str(forward.pk))
        forward.delete()


def resume_forward(forward: Forward) -> None:
    """Try again after it was disabled; what it missed meanwhile is not sent."""
    forward.failing_since = forward.disabled_at = None
    forward.reason = ""
    forward.save()
    audit("forward.resumed", actor=forward.user, subject=str(forward.pk))


def queue_test(forward: Forward) -> ForwardDelivery:
    now = clock.now()
    ForwardDelivery.objects.filter(forward=forward, message=None).delete()
    enqueue_on_commit(SEND_TASK)
    return ForwardDelivery.objects.create(
        forward=forward, next_attempt_at=now, created_at=now
    )


def _secret_name(forward: Forward) -> str:
    return f"forward {forward.pk}"


def _ntfy_topic(url: str) -> str:
    return urlsplit(url).path.rstrip("/").rpartition("/")[2]


# --- sending ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    delivery: ForwardDelivery
    token: str
    problem: str = ""


def send_due_forwards() -> int:
    """Send what is due until nothing is left or time is over; how many were taken."""
    return drain(_claim, _send, _record, slots=settings.LIMITS.forward_deliveries)


def _claim(limit: int) -> list[Outgoing]:
    due = ForwardDelivery.objects.filter(forward__disabled_at=None)
    claimed = (
        due.annotate(host=host_of("forward__url"))
        .select_related("forward", "message__subscription__account")
        .claim(
            limit,
            owner="forward__user_id",
            lease=LEASE,
            max_in_flight=settings.LIMITS.forward_deliveries,
            caps={
                "forward__user_id": settings.LIMITS.forward_deliveries_per_user,
                "host": settings.LIMITS.forward_deliveries_per_host,
            },
        )
    )
    return [_outgoing(each) for each in claimed]


def _outgoing(delivery: ForwardDelivery) -> Outgoing:
    try:
        return Outgoing(
            delivery, secret(Holder.ALERTS, _secret_name(delivery.forward)).decode()
        )
    except SecretNotFound:
        return Outgoing(delivery, "")
    except KeychainError as error:
        return Outgoing(delivery, "", str(error))


def request_of(
    forward: Forward, message: NotifyMessageRecord | None, token: str
) -> tuple[str, dict[str, object], dict[str, str]]:
    """The URL, the JSON and the headers that deliver ``message``; None is a test."""
    if message is None:
        title, body, dapp = "notifyweb", "This is the test that you asked for.", ""
        link, account, type_, number = settings.PUBLIC_URL + "/settings", "", "", None
        at = clock.now()
    else:
        title, body, dapp = (
            bidi.neutralize(text)
            for text in (message.title, message.body, str(message.subscription))
        )
        link = f"{settings.PUBLIC_URL}/inbox/{message.pk}"
        account = message.subscription.account.address
        type_, number, at = message.type, message.pk, message.published_at
    headers = {"authorization": f"Bearer {token}"} if token else {}
    if forward.kind == Forward.Kind.NTFY:
        parts = urlsplit(forward.url)
        topic = _ntfy_topic(forward.url)
        root = parts.path.rstrip("/").removesuffix(topic) or "/"
        value: dict[str, object] = {
            "topic": topic,
            "title": f"{dapp}: {title}" if dapp else title,
            "message": body,
            "click": link,
        }
        return urlunsplit((parts.scheme, parts.netloc, root, "", "")), value, headers
    if forward.kind == Forward.Kind.GOTIFY:
        headers = {"x-gotify-key": token} if token else {}
        extras = {"client::notification": {"click": {"url": link}}}
        value = {
            "title": f"{dapp}: {title}" if dapp else title,
            "message": body,
            "priority": 5,
            "extras": extras,
        }
        return forward.url.rstrip("/") + "/message", value, headers
    value = {
        "id": number,
        "account": account,
        "dapp": dapp,
        "type": type_,
        "title": title,
        "body": body,
        "url": link,
        "publishedAt": at.isoformat(),
    }
    return forward.url, value, headers


def _send(outgoing: Outgoing) -> tuple[ForwardDelivery, Attempt]:
    delivery = outgoing.delivery
    if outgoing.problem:
        return delivery, Attempt(error=outgoing.problem)
    url, value, headers = request_of(delivery.forward, delivery.message, outgoing.token)
    return delivery, post(url, json=value, headers=headers)


def _record(outcomes: list[tuple[ForwardDelivery, Attempt]]) -> None:
    with transaction.atomic():
        for delivery, attempt in outcomes:
            _settle(delivery, attempt)
        accepted = sum(attempt.is_accepted for _, attempt in outcomes)
        counters.count(
            "forwards", {"accepted": accepted, "failed": len(outcomes) - accepted}
        )
        observe_attempts("forward", [attempt for _, attempt in outcomes])


def _settle(delivery: ForwardDelivery, attempt: Attempt) -> None:
    now = clock.now()
    rows = Forward.objects.filter(pk=delivery.forward_id)
    if attempt.is_accepted:
        if ForwardDelivery.objects.held(delivery).delete()[0]:
            rows.update(delivered_at=now, failing_since=None, reason="")
        return
    reason = attempt.error or f"the receiver answered {attempt.status}"
    rows.update(reason=reason[:200])
    rows.filter(failing_since=None).update(failing_since=now)
    if attempt.status == GONE:
        rows.update(disabled_at=now)
    else:
        rows.filter(failing_since__lte=now - DISABLED_AFTER).update(disabled_at=now)
    if BACKOFF.is_over(delivery.attempts):
        ForwardDelivery.objects.held(delivery).delete()
    else:
        delivery.retry_later(BACKOFF, reason, not_before=attempt.not_before)
    if rows.exclude(disabled_at=None).exists():
        ForwardDelivery.objects.filter(forward=delivery.forward_id).update(**NO_WORK)


@in_batches
def prune() -> int:
    """Delete what a disabled forward left behind."""
    over = ForwardDelivery.objects.filter(next_attempt_at=None)
    pks = over.values_list("pk", flat=True)[: retention.BATCH_SIZE]
    return ForwardDelivery.objects.filter(pk__in=list(pks)).delete()[0]
