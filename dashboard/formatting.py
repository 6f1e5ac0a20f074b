"""Times as text in the active language.

``static/js/times.js`` writes the same text in the browser's time zone; change both together.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, pgettext

from common import clock

if TYPE_CHECKING:
    from typing import Literal

    TimeForm = Literal["ago", "time", "clock", "day", "full", "long"]


def format_time(
    local: datetime, form: TimeForm = "ago", *, now: datetime | None = None
) -> str:
    now = now or timezone.localtime(clock.now())
    if form == "time":
        return f"{local:%H:%M}"
    if form == "clock":
        return f"{local:%H:%M:%S}"
    if form == "full":
        # Translators: a date with a short month and the time, in Django's date format.
        return date_format(local, pgettext("date format", "j M Y, H:i"))
    if form == "long":
        # Translators: a date with the month's name, the time and the time zone.
        return date_format(local, pgettext("date format", "j F Y, H:i:s T"))
    return format_day(local, now=now) if form == "day" else _format_ago(local, now)


def format_date(day: date) -> str:
    return date_format(day, pgettext("date format", "j M Y"))


def _format_ago(local: datetime, now: datetime) -> str:
    seconds = (now - local).total_seconds()
    if -60 <= seconds < 60:
        return gettext("just now")
    minutes, hours = int(abs(seconds) // 60), int(abs(seconds) // 3600)
    if abs(seconds) < 3600:
        text = (
            gettext("%(minutes)d min ago")
            if seconds > 0
            else gettext("in %(minutes)d min")
        )
        return text % {"minutes": minutes}
    if abs(seconds) < 86400:
        text = gettext("%(hours)d h ago") if seconds > 0 else gettext("in %(hours)d h")
        return text % {"hours": hours}
    if seconds > 0 and local.year == now.year:
        return date_format(local, pgettext("date format", "j M"))
    return format_date(local)


def format_day(local: datetime, *, now: datetime) -> str:
    if local.date() == now.date():
        return gettext("Today")
    if local.date() == (now - timedelta(days=1)).date():
        return gettext("Yesterday")
    if local.year == now.year:
        return date_format(local, pgettext("date format", "l, j F"))
    return date_format(local, pgettext("date format", "j F Y"))
