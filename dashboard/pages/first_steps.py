"""Suggestions above the inbox: what to do next, one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils.translation import gettext

from accounts.models import Device
from alerts.models import PushSubscription
from dashboard.appearance import STEPS, step_cookie
from subscriptions.models import NotifyMessageRecord, Subscription

if TYPE_CHECKING:
    from dashboard.access import MemberRequest
    from dashboard.frame import Frame


@dataclass(frozen=True, slots=True)
class FirstStep:
    name: str
    icon: str
    title: str
    text: str
    action: str
    url: str


def first_steps(
    request: MemberRequest, frame: Frame, *, has_subscriptions: bool
) -> list[FirstStep]:
    """What to do next, one at a time. "Not now" holds for thirty days on this device."""
    if not has_subscriptions:
        return []
    asked = [name for name in STEPS if step_cookie(name) not in request.COOKIES]
    if "device" in asked and _lacks_device(request, frame):
        return [
            FirstStep(
                "device",
                "monitor-smartphone",
                gettext("Add a second device"),
                gettext(
                    "Sign in with the same wallet in another browser to get the same "
                    "inbox."
                ),
                gettext("Show how"),
                reverse("dashboard:device-list") + "#second",
            )
        ]
    if "push" in asked and _lacks_push(request):
        return [
            FirstStep(
                "push",
                "bell-ring",
                gettext("Be notified when no page is open"),
                gettext(
                    "This browser can show new notifications. It asks you before it does."
                ),
                gettext("Go to Alerts"),
                reverse("dashboard:settings") + "#push",
            )
        ]
    return []


def _lacks_device(request: MemberRequest, frame: Frame) -> bool:
    """There is something to share, and nothing it is shared with."""
    if not any(account.is_synced for account in frame.accounts):
        return False
    return Device.objects.active().filter(user=request.user).count() < 2


def _lacks_push(request: MemberRequest) -> bool:
    """Asked only once there has been something to be notified of."""
    if PushSubscription.objects.filter(device=request.device).exists():
        return False
    owned = Subscription.objects.of_user(request.user.pk).order_by()
    return NotifyMessageRecord.objects.filter(subscription__in=owned).exists()
