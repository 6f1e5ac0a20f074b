"""Web Push: browsers that want it, and the messages on their way (RFC 8030, 8291, 8292).

A message is sealed to the browser's key: the push service sees its length only.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Count

from accounts.services import audit
from alerts.models import PushDelivery, PushSubscription
from common import bidi, clock, counters, outbound, retention
from common.attempts import Attempt, observe_attempts, post
from common.backoff import Backoff
from common.drain import drain
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from common.work_queue import host_of
from keychain.services import Holder, KeychainError, forget, put_secret, secret
from keychain.webpush import read_push_keys, seal_push, vapid_authorization
from subscriptions.models import Icon, NotifyMessageRecord

if TYPE_CHECKING:
    from accounts.models import Device

logger = logging.getLogger(__name__)

SEND_TASK: Final = "alerts.send_pushes"
# After the last attempt the notification is in the inbox only, hours old.
BACKOFF: Final = Backoff(first_s=10, max_s=3_600, max_attempts=8)
LEASE: Final = timedelta(seconds=60)
TTL_S: Final = 24 * 3600
# A record of 4096 bytes, less its header and tag: what every push service takes.
MAX_PAYLOAD_BYTES: Final = 3_800
# The subscription is over (RFC 8030, section 7.3) or belongs to another VAPID key.
GONE: Final = frozenset({404, 410})
REFUSED: Final = frozenset({400, 401, 403, 413})


class PushError(ValueError):
    """What a browser sent is not a push subscription; the text is the reason."""


# --- subscriptions ----------------------------------------------------------------------


def save_subscription(device: Device, value: object) -> PushSubscription:
    """Store what ``PushSubscription.toJSON()`` returned in the device's browser.

    Replaces the one before. Raises ``PushError``, also for an endpoint that this server
    must not call.
    """
    keys = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(keys, dict):
        raise PushError("a push subscription has an endpoint and keys")
    endpoint = value.get("endpoint")
    try:
        public_key, auth = read_push_keys(
            str(keys.get("p256dh")), str(keys.get("auth"))
        )
    except ValueError as error:
        raise PushError(str(error)) from None
    if not isinstance(endpoint, str) or len(endpoint) > 2048:
        raise PushError("the endpoint is a URL of at most 2048 characters")
    try:
        outbound.check_url(endpoint)
    except outbound.OutboundRefused as error:
        raise PushError(f"the endpoint cannot be called: {error}") from None
    with transaction.atomic():
        PushSubscription.objects.filter(device=device).delete()
        row = PushSubscription.objects.create(
            device=device,
            endpoint=endpoint,
            public_key=public_key,
            created_at=clock.now(),
        )
        put_secret(Holder.ALERTS, _secret_name(device), auth)
        audit("push.enabled", device=device)
    return row


def remove_subscription(device: Device) -> bool:
    """Stop pushing to a device; False if it had no subscription."""
    count, _ = PushSubscription.objects.filter(device=device).delete()
    forget(Holder.ALERTS, [_secret_name(device)])
    if count:
        audit("push.disabled", device=device)
    return bool(count)


def remove_subscriptions(*, devices: list[Device], **_: Any) -> None:
    """Receiver of ``devices_revoked`` and ``sessions_ended``."""
    PushSubscription.objects.filter(device__in=devices).delete()
    forget(Holder.ALERTS, [_secret_name(device) for device in devices])


def _secret_name(device: Device) -> str:
    return f"push {device.pk}"


def queue_test(subscription: PushSubscription) -> PushDelivery:
    """A push that only shows that pushing works, to be sent at once."""
    now = clock.now()
    PushDelivery.objects.filter(subscription=subscription, message=None).delete()
    enqueue_on_commit(SEND_TASK)
    return PushDelivery.objects.create(
        subscription=subscription, next_attempt_at=now, created_at=now
    )


# --- sending ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A claimed delivery with what is sent; empty ``body``: there is nothing to send."""

    delivery: PushDelivery
    body: bytes = b""
    headers: dict[str, str] | None = None
    problem: str = ""


def send_due_pushes() -> int:
    """Send what is due until nothing is left or time is over; how many were taken."""
    return drain(_claim, _send, _record, slots=settings.LIMITS.pushes)


def _claim(limit: int) -> list[Outgoing]:
    claimed = (
        PushDelivery.objects.annotate(host=host_of("subscription__endpoint"))
        .select_related("subscription__device", "message__subscription")
        .claim(
            limit,
            owner="subscription__device__user_id",
            lease=LEASE,
            max_in_flight=settings.LIMITS.pushes,
            caps={
                "subscription__device__user_id": settings.LIMITS.pushes_per_user,
                "host": settings.LIMITS.pushes_per_host,
            },
        )
    )
    if not claimed:
        return []
    failpoint("pushes.after_claim")
    rows = NotifyMessageRecord.objects.unread().filter(
        subscription__account__user_id__in={
            each.subscription.device.user_id for each in claimed
        },
        subscription__deleted_at=None,
    )
    counts = rows.values_list("subscription__account__user_id").annotate(Count("pk"))
    unread = dict(counts.order_by())
    icons = Icon.objects.digests(url for each in claimed for url in _icon_urls(each))
    return [_outgoing(each, unread, icons) for each in claimed]


def _icon_urls(delivery: PushDelivery) -> list[str]:
    """The notification's own icon, then its dapp's."""
    if delivery.message is None:
        return []
    dapp = delivery.message.subscription.metadata.get("icons", [])[:1]
    return [delivery.message.icon, *map(str, dapp)]


def _outgoing(
    delivery: PushDelivery, unread: dict[int, int], icons: dict[str, str]
) -> Outgoing:
    subscription, message = delivery.subscription, delivery.message
    is_wanted = message is None or message.is_unread
    if is_wanted is (delivery.state == PushDelivery.State.WITHDRAW):
        return Outgoing(delivery)
    payload: dict[str, object] = {
        "kind": "show" if is_wanted else "withdraw",
        "id": delivery.message_id,
        "unread": unread.get(subscription.device.user_id, 0),
    }
    if is_wanted:
        payload |= _shown(message) | {"silent": delivery.is_silent}
        found = [icons[url] for url in _icon_urls(delivery) if url in icons]
        if found:
            payload["icon"] = f"/icons/{found[0]}"
    topic = "test" if message is None else f"m{message.pk}"
    try:
        auth = secret(Holder.ALERTS, _secret_name(subscription.device))
    except KeychainError as error:
        return Outgoing(delivery, problem=str(error))
    body = seal_push(
        json.dumps(payload, ensure_ascii=False).encode(),
        bytes(subscription.public_key),
        auth,
    )
    headers = {
        "authorization": vapid_authorization(subscription.endpoint, _contact()),
        "content-type": "application/octet-stream",
        "content-encoding": "aes128gcm",
        "ttl": str(TTL_S),
        # A withdrawal replaces a notification that the browser has not fetched yet.
        "topic": topic,
        "urgency": "normal" if is_wanted else "low",
    }
    return Outgoing(delivery, body, headers)


def _contact() -> str:
    public: str = settings.PUBLIC_URL
    return public if public.startswith("https://") else "mailto:admin@localhost.invalid"


def _shown(message: NotifyMessageRecord | None) -> dict[str, object]:
    if message is None:
        return {
            "title": "Notifications reach this browser",
            "body": "This is the test that you asked for.",
            "dapp": "notifyweb",
            "url": "/settings",
        }
    return {
        "title": bidi.neutralize(message.title[:256]),
        "body": bidi.neutralize(message.body)
        .encode()[: MAX_PAYLOAD_BYTES - 2_000]
        .decode(errors="ignore"),
        "dapp": bidi.neutralize(str(message.subscription)[:128]),
        "url": f"/inbox/{message.pk}",
    }


def _send(outgoing: Outgoing) -> tuple[PushDelivery, Attempt | None]:
    """The attempt is None if there is nothing to send."""
    delivery = outgoing.delivery
    if outgoing.problem:
        return delivery, Attempt(error=outgoing.problem)
    if outgoing.headers is None:
        return delivery, None
    return delivery, post(
        delivery.subscription.endpoint, content=outgoing.body, headers=outgoing.headers
    )


def _record(outcomes: list[tuple[PushDelivery, Attempt | None]]) -> None:
    failpoint("pushes.before_record")
    with transaction.atomic():
        for delivery, attempt in outcomes:
            _settle(delivery, attempt)
        sent = [attempt for _, attempt in outcomes if attempt is not None]
        accepted = sum(each.is_accepted for each in sent)
        gone = sum(each.status in GONE for each in sent)
        failed = len(sent) - accepted - gone
        counters.count("pushes", {"accepted": accepted, "gone": gone, "failed": failed})
        observe_attempts("push", sent)


def _settle(delivery: PushDelivery, attempt: Attempt | None) -> None:
    subscription = delivery.subscription
    if attempt is None:
        # Read before it was shown, or unread again before it was withdrawn.
        _finish(delivery, was_sent=False)
    elif attempt.status in GONE:
        logger.info("push subscription is over", extra={"status": attempt.status})
        remove_subscription(subscription.device)
    elif attempt.is_accepted:
        PushSubscription.objects.filter(pk=subscription.pk).update(
            delivered_at=clock.now(), reason=""
        )
        _finish(delivery, was_sent=True)
    else:
        reason = attempt.error or f"the push service answered {attempt.status}"
        PushSubscription.objects.filter(pk=subscription.pk).update(reason=reason[:200])
        if attempt.status in REFUSED or BACKOFF.is_over(delivery.attempts):
            PushDelivery.objects.held(delivery).delete()
        else:
            delivery.retry_later(BACKOFF, reason, not_before=attempt.not_before)


def _finish(delivery: PushDelivery, *, was_sent: bool) -> None:
    """Keep what is shown, to be withdrawn when it is read; forget the rest."""
    was_withdrawn = delivery.state == PushDelivery.State.WITHDRAW
    # The lock orders this with marking as read: the next reader finds the row as shown.
    records = NotifyMessageRecord.objects.select_for_update()
    message = records.filter(pk__in=[delivery.message_id]).first()
    if message is None:
        PushDelivery.objects.held(delivery).delete()
    elif message.is_unread:
        delivery.finish(state=PushDelivery.State.SHOWN)
    elif was_withdrawn or not was_sent:
        PushDelivery.objects.held(delivery).delete()
    else:
        delivery.put_off(clock.now(), "", state=PushDelivery.State.WITHDRAW)


def prune() -> int:
    """Forget what was shown long ago; browsers have dropped it."""
    return retention.prune_tables("alerts.prune")
