"""Times that people enter: a local date and time, and the time zone it is meant in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings

from castserver.services.errors import Invalid
from common import clock

FORMAT: Final = "%Y-%m-%d %H:%M"


def scheduled_time(text: str, zone_name: str) -> datetime:
    """The instant of a local time such as ``2027-03-28T09:30``. Raises ``Invalid``.

    When clocks go forward, a local time that is skipped is refused. When they go back,
    a time that comes twice is the first of the two.
    """
    if zone_name not in available_timezones():
        raise Invalid(f"{zone_name[:64]!r} is not a time zone", field="time_zone")
    zone = ZoneInfo(zone_name)
    try:
        local = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Invalid(
            "enter a date and a time such as 2027-03-28T09:30", field="at"
        ) from None
    if local.tzinfo is not None:
        raise Invalid("enter a local time, without an offset", field="at")
    # The first and the last years have no neighbours to convert to.
    if not 2000 <= local.year < 9000:
        raise Invalid("that year is out of range", field="at")
    at = local.replace(tzinfo=zone).astimezone(UTC)
    shown = at.astimezone(zone).replace(tzinfo=None)
    if shown != local:
        raise Invalid(
            f"{local:{FORMAT}} does not exist in {zone_name}: clocks go forward then; "
            f"{shown:{FORMAT}} does",
            field="at",
        )
    now = clock.now()
    if at <= now:
        raise Invalid(
            f"{local:{FORMAT}} in {zone_name} is past; it is "
            f"{now.astimezone(zone):{FORMAT}} there now",
            field="at",
        )
    if at > now + timedelta(days=settings.LIMITS.schedule_ahead_days):
        raise Invalid(
            f"schedule at most {settings.LIMITS.schedule_ahead_days} days ahead",
            field="at",
        )
    return at
