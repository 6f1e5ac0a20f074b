"""When alerts are wanted: quiet hours and mutes. Both hold for every channel.

A muted notification is stored and counted like any other, but no alert is sent for it.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext

from accounts.services import audit
from alerts.models import AlertSettings, Mute
from common import clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from accounts.models import Account, User

SATURDAY: Final = 5
# What the pages offer; None is "until I turn it off".
MUTE_FOR: Final[dict[str, timedelta | None]] = {
    "1h": timedelta(hours=1),
    "8h": timedelta(hours=8),
    "7d": timedelta(days=7),
    "on": None,
}


class PreferenceError(ValueError):
    """The preference is not valid; the text is for the person who set it."""


# --- quiet hours ------------------------------------------------------------------------


def alert_settings(user: User) -> AlertSettings:
    """The person's settings, or the defaults (not stored)."""
    return AlertSettings.objects.filter(user=user).first() or AlertSettings(user=user)


def save_quiet_hours(
    user: User, *, start: str, end: str, weekends: bool, time_zone: str
) -> AlertSettings:
    """Store quiet hours, given as ``HH:MM``. Raises ``PreferenceError``."""
    if time_zone not in available_timezones():
        raise PreferenceError(
            gettext("%(text)s is not a time zone") % {"text": time_zone[:64]}
        )
    try:
        times = {
            "quiet_from": time.fromisoformat(start),
            "quiet_until": time.fromisoformat(end),
        }
    except ValueError:
        raise PreferenceError(
            gettext("quiet hours are two times such as 22:00")
        ) from None
    if any(each.tzinfo for each in times.values()):
        raise PreferenceError(gettext("quiet hours are local times, without an offset"))
    row, _ = AlertSettings.objects.update_or_create(
        user=user,
        defaults=times | {"quiet_weekends": weekends, "time_zone": time_zone},
    )
    return row


def end_of_quiet(preferences: AlertSettings, at: datetime) -> datetime | None:
    """When the quiet time that ``at`` falls into is over; None if it is not quiet.

    Computed in local time, so that 08:00 stays 08:00 when clocks change. Both weekend
    days and the nights around them may join into one quiet time.
    """
    zone = ZoneInfo(preferences.time_zone)
    local = at.astimezone(zone)
    end = local
    # Each round adds one night or one weekend day; more than five cannot follow.
    for _ in range(6):
        following = _quiet_until(preferences, end)
        if following is None:
            break
        end = following.replace(tzinfo=zone)
    return None if end == local else end.astimezone(at.tzinfo)


def _quiet_until(preferences: AlertSettings, local: datetime) -> datetime | None:
    if preferences.quiet_weekends and local.weekday() >= SATURDAY:
        return datetime.combine(local.date() + timedelta(days=1), time())
    start, end, now = preferences.quiet_from, preferences.quiet_until, local.time()
    if start < end:
        return datetime.combine(local.date(), end) if start <= now < end else None
    if start > end and now >= start:
        return datetime.combine(local.date() + timedelta(days=1), end)
    if start > end and now < end:
        return datetime.combine(local.date(), end)
    return None


# --- mutes ------------------------------------------------------------------------------


def mute(account: Account, dapp_url: str, type_: str, duration: str) -> Mute:
    """Silence a dapp (``type_`` empty) or one of its types for ``1h``, ``8h``, ``7d`` or ``on``."""
    if duration not in MUTE_FOR:
        raise PreferenceError(
            gettext("mute for one of %(names)s") % {"names": ", ".join(MUTE_FOR)}
        )
    existing = Mute.objects.filter(account=account)
    if existing.count() >= settings.LIMITS.mutes_per_account:
        raise PreferenceError(
            gettext("an account has at most %(count)s mutes")
            % {"count": settings.LIMITS.mutes_per_account}
        )
    now, length = clock.now(), MUTE_FOR[duration]
    row, _ = Mute.objects.update_or_create(
        account=account,
        dapp_url=dapp_url,
        type=type_,
        defaults={"until": None if length is None else now + length, "created_at": now},
    )
    audit("mute.set", account=account, subject=dapp_url, detail=f"{type_} {duration}")
    return row


def unmute(account: Account, dapp_url: str, type_: str) -> bool:
    """End a mute; False if there was none."""
    rows = Mute.objects.filter(account=account, dapp_url=dapp_url, type=type_)
    count, _ = rows.delete()
    if count:
        audit("mute.ended", account=account, subject=dapp_url, detail=type_)
    return bool(count)


def restore_mutes(
    account: Account, wanted: Iterable[tuple[str, str, datetime | None]]
) -> list[bool | None]:
    """Set mutes (dapp URL, type, end) that are missing; existing ones stay as they are.

    Returns for each: True if it was set, False if it was there or is over, None if the
    account has too many.
    """
    now = clock.now()
    present = set(Mute.objects.filter(account=account).values_list("dapp_url", "type"))
    room = settings.LIMITS.mutes_per_account - len(present)
    results: list[bool | None] = []
    new: list[Mute] = []
    for dapp_url, type_, until in wanted:
        if (dapp_url, type_) in present or (until is not None and until <= now):
            results.append(False)
        elif len(new) >= room:
            results.append(None)
        else:
            present.add((dapp_url, type_))
            new.append(
                Mute(
                    account=account,
                    dapp_url=dapp_url,
                    type=type_,
                    until=until,
                    created_at=now,
                )
            )
            results.append(True)
    Mute.objects.bulk_create(new, ignore_conflicts=True)
    return results


def active_mutes(account_ids: Iterable[int]) -> dict[tuple[int, str, str], Mute]:
    """Mutes in force, by account, dapp URL and type. One query."""
    rows = Mute.objects.filter(
        Q(until=None) | Q(until__gt=clock.now()), account_id__in=set(account_ids)
    )
    return {(row.account_id, row.dapp_url, row.type): row for row in rows}


def is_muted(
    mutes: dict[tuple[int, str, str], Mute], account_id: int, dapp_url: str, type_: str
) -> bool:
    return (account_id, dapp_url, "") in mutes or (account_id, dapp_url, type_) in mutes


def prune() -> int:
    """Delete mutes that are over."""
    count, _ = Mute.objects.filter(until__lte=clock.now()).delete()
    return count
