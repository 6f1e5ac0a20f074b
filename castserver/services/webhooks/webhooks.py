"""Webhooks of dapps and their queued events.

Spec: servers/notify/notify-server-api.md, "Webhooks". Signatures follow Standard Webhooks,
so that a receiver can use any of its libraries.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.services import audit
from castserver.models import Project, Webhook, WebhookDelivery
from castserver.services.errors import Invalid, Missing, TooMany
from castserver.services.projects.members import lock_project
from common import clock, entropy, outbound
from common.wake import enqueue_on_commit
from keychain.services import Holder, forget, put_secret, secret
from walletconnect.notify.parties import WebhookEvent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # marks a secret, is none
SECRET_OVERLAP: Final = timedelta(hours=24)
TEST_ACCOUNT: Final = "eip155:1:0x0000000000000000000000000000000000000000"
DELIVER_TASK: Final = "castserver.deliver_due_webhooks"


REPLAYED_STATES: Final = (
    WebhookDelivery.State.FAILED,
    WebhookDelivery.State.CANCELLED,
    WebhookDelivery.State.DELIVERED,
)
OFFERED_EVENTS: Final = (WebhookEvent.SUBSCRIBED, WebhookEvent.UNSUBSCRIBED)


@dataclass(frozen=True, slots=True)
class SubscriberEvent:
    """An account subscribed or unsubscribed; ``account`` as its wallet writes it."""

    project_id: str
    dapp_url: str
    event: WebhookEvent
    account: str


# --- registration ---------------------------------------------------------------------


def register_webhook(
    project: Project, url: str, *, events: Collection[str]
) -> tuple[Webhook, str]:
    """A new webhook and its secret, which cannot be shown again."""
    checked_events = _checked_events(events)
    _check_url(url)
    with transaction.atomic():
        lock_project(project)
        limit = settings.LIMITS.webhooks_per_project
        if project.webhooks.count() >= limit:
            raise TooMany(f"a project has at most {limit} webhooks")
        webhook = Webhook.objects.create(
            project=project, url=url, events=checked_events, created_at=clock.now()
        )
        key = entropy.key_bytes()
        put_secret(Holder.CAST, _secret_name(webhook), key)
        audit("webhook.registered", subject=str(webhook.pk), detail=url, by_caller=True)
    return webhook, _shown(key)


def update_webhook(
    project: Project, webhook_id: str, *, url: str, events: Collection[str]
) -> Webhook:
    """Change address and events, and enable the webhook."""
    checked_events = _checked_events(events)
    _check_url(url)
    with transaction.atomic():
        webhook = webhook_of(project, webhook_id, for_update=True)
        webhook.url = url
        webhook.events = checked_events
        _enable(webhook)
        audit("webhook.changed", subject=str(webhook.pk), detail=url, by_caller=True)
    return webhook


def enable_webhook(webhook: Webhook) -> None:
    _enable(webhook)
    audit("webhook.enabled", subject=str(webhook.pk), by_caller=True)


def _enable(webhook: Webhook) -> None:
    webhook.disabled_at = None
    webhook.disabled_reason = ""
    webhook.failing_since = None
    webhook.save()


def delete_webhook(project: Project, webhook_id: str) -> bool:
    """Delete a webhook with its queued events; False if there is none."""
    try:
        webhook = webhook_of(project, webhook_id)
    except Missing:
        return False
    with transaction.atomic():
        forget(Holder.CAST, [_secret_name(webhook), _previous_name(webhook)])
        audit(
            "webhook.deleted",
            subject=str(webhook.pk),
            detail=webhook.url,
            by_caller=True,
        )
        webhook.delete()
    return True


def webhook_of(
    project: Project, webhook_id: str, *, for_update: bool = False
) -> Webhook:
    rows = Webhook.objects.filter(project=project)
    if for_update:
        rows = rows.select_for_update()
    try:
        found = rows.filter(pk=webhook_id).first()
    except (ValueError, ValidationError):
        found = None
    if found is None:
        raise Missing("the project has no webhook with this id")
    return found


def _checked_events(events: Collection[str]) -> list[str]:
    found = list(dict.fromkeys(events))
    if not found or not set(found) <= set(OFFERED_EVENTS):
        raise Invalid(f"events must be {' or '.join(OFFERED_EVENTS)}", field="events")
    return found


def _check_url(url: str) -> None:
    try:
        outbound.check_url(url)
    except outbound.OutboundRefused as error:
        raise Invalid(str(error), field="webhook") from None


# --- secrets --------------------------------------------------------------------------


def rotate_secret(webhook: Webhook) -> str:
    """A new secret. For a day, events are signed with the previous one too."""
    key = entropy.key_bytes()
    with transaction.atomic():
        before = secret(Holder.CAST, _secret_name(webhook))
        put_secret(Holder.CAST, _previous_name(webhook), before)
        put_secret(Holder.CAST, _secret_name(webhook), key)
        webhook.previous_secret_until = clock.now() + SECRET_OVERLAP
        webhook.save(update_fields=["previous_secret_until"])
        audit("webhook.secret-rotated", subject=str(webhook.pk), by_caller=True)
    return _shown(key)


def signing_secrets(webhook: Webhook) -> list[bytes]:
    """The secrets to sign an event with now, newest first."""
    names = [_secret_name(webhook)]
    until = webhook.previous_secret_until
    if until is not None and clock.now() < until:
        names.append(_previous_name(webhook))
    return [secret(Holder.CAST, name) for name in names]


def _shown(key: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(key).decode()


def _secret_name(webhook: Webhook) -> str:
    return f"webhook {webhook.pk}"


def _previous_name(webhook: Webhook) -> str:
    return f"webhook {webhook.pk} before"


# --- events ---------------------------------------------------------------------------


def queue_events(events: Sequence[SubscriberEvent]) -> list[WebhookDelivery]:
    """Queue events for the webhooks that registered for them, in the caller's transaction."""
    if not events:
        return []
    webhooks = Webhook.objects.filter(
        project_id__in={event.project_id for event in events}, disabled_at=None
    )
    by_project: dict[str, list[Webhook]] = {}
    for webhook in webhooks:
        by_project.setdefault(webhook.project_id, []).append(webhook)
    return _queue(
        _delivery(webhook, event)
        for event in events
        for webhook in by_project.get(event.project_id, [])
        if event.event in webhook.events
    )


def queue_test_event(webhook: Webhook) -> WebhookDelivery:
    project = webhook.project
    event = SubscriberEvent(project.pk, project.url, WebhookEvent.TEST, TEST_ACCOUNT)
    with transaction.atomic():
        return _queue([_delivery(webhook, event)])[0]


def replay(delivery: WebhookDelivery) -> None:
    """Send an event again under the same id."""
    with transaction.atomic():
        found = WebhookDelivery.objects.filter(pk=delivery.pk)
        _make_due(found.exclude(state=WebhookDelivery.State.DUE))
        audit("webhook.replayed", subject=str(delivery.pk), by_caller=True)


def replay_range(
    webhook: Webhook, since: datetime, until: datetime, *, states: Collection[str]
) -> int:
    """Send the events of a time range in these states again, each under its id.

    Returns their number. Events that are due already are not counted.
    """
    most = settings.LIMITS.webhook_replays
    if since >= until:
        raise Invalid("the range ends before it begins", field="until")
    if webhook.disabled_at is not None:
        raise Invalid("the webhook is paused; turn it on first")
    if not states or not set(states) <= set(REPLAYED_STATES):
        raise Invalid(f"states must be {', '.join(REPLAYED_STATES)}", field="states")
    with transaction.atomic():
        found = webhook.deliveries.select_for_update().filter(
            created_at__gte=since, created_at__lt=until, state__in=states
        )
        keys = list(
            found.order_by("-created_at").values_list("pk", flat=True)[: most + 1]
        )
        if len(keys) > most:
            raise TooMany(
                f"the range has more than {most} events; choose a shorter one",
                field="until",
            )
        _make_due(webhook.deliveries.filter(pk__in=keys))
        audit(
            "webhook.replayed",
            subject=str(webhook.pk),
            detail=f"{len(keys)} events of {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}",
            by_caller=True,
        )
    return len(keys)


def send_again(pks: Collection[UUID]) -> int:
    """Send finished events again, under their ids; returns their number."""
    finished = WebhookDelivery.objects.filter(pk__in=pks).exclude(
        state=WebhookDelivery.State.DUE
    )
    return _make_due(finished)


def _make_due(deliveries: QuerySet[WebhookDelivery]) -> int:
    count = deliveries.update(
        state=WebhookDelivery.State.DUE, reason="", next_attempt_at=clock.now()
    )
    enqueue_on_commit(DELIVER_TASK)
    return count


def _delivery(webhook: Webhook, event: SubscriberEvent) -> WebhookDelivery:
    now = clock.now()
    body = {
        "id": str(webhook.pk),
        "event": event.event.value,
        "account": event.account,
        "dappUrl": event.dapp_url,
    }
    return WebhookDelivery(
        webhook=webhook,
        event=event.event.value,
        body=json.dumps(body, separators=(",", ":")),
        next_attempt_at=now,
        created_at=now,
    )


def _queue(deliveries: Iterable[WebhookDelivery]) -> list[WebhookDelivery]:
    stored = WebhookDelivery.objects.bulk_create(list(deliveries))
    if stored:
        enqueue_on_commit(DELIVER_TASK)
    return stored
