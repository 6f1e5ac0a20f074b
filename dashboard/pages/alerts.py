"""What the settings page shows of a person's alerts."""

from __future__ import annotations

from datetime import time
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

from alerts.models import Digest, Forward, PushSubscription
from alerts.services import digest
from alerts.services.preferences import alert_settings
from keychain.webpush import application_server_key

if TYPE_CHECKING:
    from accounts.models import Device, User


def alerts_section(user: User, device: Device, browser_zone: str) -> dict[str, object]:
    settings = alert_settings(user)
    is_quiet = settings.quiet_from != settings.quiet_until
    kept = Digest.objects.filter(user=user).first()
    return {
        "push": PushSubscription.objects.filter(device=device).first(),
        "push_key": application_server_key(),
        "settings": settings,
        # Until it was saved, that of the browser.
        "zone": browser_zone if settings._state.adding else settings.time_zone,
        "is_quiet": is_quiet,
        "until": settings.quiet_until if is_quiet else time(7),
        "zones": sorted(available_timezones()),
        "forwards": user.forwards.order_by("created_at"),
        "kinds": Forward.Kind.choices,
        "digest": kept,
        "hour": kept.hour if kept else 8,
        "frequencies": Digest.Frequency.choices,
        "has_mail": digest.is_available(),
    }
