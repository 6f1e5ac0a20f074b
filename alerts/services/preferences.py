"""When alerts are wanted: quiet hours and mutes. Both hold for every channel.

A muted notification is stored and counted like any other, but causes no alert. Quiet hours
belong to the person on this server; mutes are shared by all devices of the account, through
``preferences``.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from accounts.services import audit, record_events
from alerts.models import AlertSettings, Mute
from common import clock
from preferences.document import OFF
from preferences.services import Change, TooManyPreferences, change, time_of
from subscriptions.services import preference_events
from walletconnect.json_values import require_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from accounts.models import Account, Device, User
    from accounts.services import EventDraft
    from walletconnect.json_values import JsonObject, JsonValue

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
        raise PreferenceError(f"{time_zone[:64]} is not a time zone")
    try:
        times = {
            "quiet_from": time.fromisoformat(start),
            "quiet_until": time.fromisoformat(end),
        }
    except ValueError:
        raise PreferenceError("quiet hours are two times such as 22:00") from None
    if any(each.tzinfo for each in times.values()):
        raise PreferenceError("quiet hours are local times, without an offset")
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


@transaction.atomic
def mute(
    account: Account,
    dapp_url: str,
    type_: str,
    duration: str,
    *,
    device: Device | None = None,
) -> None:
    """Silence a dapp (``type_`` empty) or one of its types for ``1h``, ``8h``, ``7d`` or ``on``.

    Raises ``PreferenceError``.
    """
    if duration not in MUTE_FOR:
        raise PreferenceError(f"mute for one of {', '.join(MUTE_FOR)}")
    most = settings.LIMITS.mutes_per_account
    others = Mute.objects.filter(account=account)
    if others.exclude(dapp_url=dapp_url, type=type_).count() >= most:
        raise _too_many(most)
    length = MUTE_FOR[duration]
    until = None if length is None else clock.now() + length
    events = _set(account, {dapp_url: {type_: until}}, device=device)
    audit(
        "mute.set",
        account=account,
        device=device,
        subject=dapp_url,
        detail=f"{type_} {duration}",
    )
    record_events(events)


@transaction.atomic
def unmute(
    account: Account, dapp_url: str, type_: str, *, device: Device | None = None
) -> bool:
    """End a mute; False if there was none."""
    rows = Mute.objects.filter(account=account, dapp_url=dapp_url, type=type_)
    if not rows.exists():
        return False
    over: JsonObject = {"until": OFF}
    wanted = Change(mutes={type_: over}, note=f"{_label(dapp_url, type_)}: not muted")
    events = change(account, {dapp_url: wanted}, device=device)
    audit("mute.ended", account=account, device=device, subject=dapp_url, detail=type_)
    record_events(events)
    return True


def restore_mutes(
    account: Account, wanted: Iterable[tuple[str, str, datetime | None]]
) -> tuple[list[bool | None], list[EventDraft]]:
    """Set mutes (dapp URL, type, end) that are missing; existing ones stay as they are.

    Returns for each: True if it was set, False if it was there or is over, None if the
    account has too many. And the events to record.
    """
    now = clock.now()
    present = set(Mute.objects.filter(account=account).values_list("dapp_url", "type"))
    room = settings.LIMITS.mutes_per_account - len(present)
    results: list[bool | None] = []
    new: dict[str, dict[str, datetime | None]] = {}
    for dapp_url, type_, until in wanted:
        if (dapp_url, type_) in present or (until is not None and until <= now):
            results.append(False)
        elif room <= 0:
            results.append(None)
        else:
            present.add((dapp_url, type_))
            new.setdefault(dapp_url, {})[type_] = until
            room -= 1
            results.append(True)
    try:
        return results, _set(account, new, device=None) if new else []
    except PreferenceError:
        return [None if each else each for each in results], []


def _set(
    account: Account,
    ends: Mapping[str, Mapping[str, datetime | None]],
    *,
    device: Device | None,
) -> list[EventDraft]:
    """Set mutes by dapp URL and type."""
    try:
        return change(account, _changes(ends), device=device)
    except TooManyPreferences:
        raise _too_many(settings.LIMITS.preferences_per_account) from None


def _changes(
    ends: Mapping[str, Mapping[str, datetime | None]],
) -> dict[str, Change]:
    changes: dict[str, Change] = {}
    for dapp_url, by_type in ends.items():
        labels = ", ".join(_label(dapp_url, type_) for type_ in by_type)
        mutes: dict[str, JsonObject] = {
            type_: {"until": None if until is None else int(until.timestamp() * 1000)}
            for type_, until in by_type.items()
        }
        changes[dapp_url] = Change(mutes=mutes, note=f"{labels}: muted")
    return changes


def mute_change(dapp_url: str, type_: str, duration: str) -> Change:
    """The preference that ``mute`` sets."""
    length = MUTE_FOR[duration]
    until = None if length is None else clock.now() + length
    return _changes({dapp_url: {type_: until}})[dapp_url]


def _too_many(most: int) -> PreferenceError:
    return PreferenceError(f"an account has at most {most} mutes")


def _label(dapp_url: str, type_: str) -> str:
    host = urlsplit(dapp_url).netloc
    return f"{host}, {type_}" if type_ else host


def apply_mutes(account: Account, values: Mapping[str, JsonValue]) -> list[EventDraft]:
    """Make the rows equal to merged preferences, by dapp URL, whichever device changed them.

    Beyond ``mutes_per_account`` nothing is muted.
    """
    now = clock.now()
    kept = Mute.objects.filter(account=account)
    room = settings.LIMITS.mutes_per_account - kept.count()
    wanted: list[Mute] = []
    over: list[int] = []
    rows = {
        (row.dapp_url, row.type): row for row in kept.filter(dapp_url__in=list(values))
    }
    for dapp_url, mutes in values.items():
        for type_, value in require_object(mutes, "mutes").items():
            mute_value = require_object(value, "mute")
            until = time_of(mute_value["until"])
            row = rows.get((dapp_url, type_))
            if until is not None and until <= now:
                over += [row.pk] if row is not None else []
            elif row is not None or room > 0:
                room -= row is None
                wanted.append(
                    Mute(
                        account=account,
                        dapp_url=dapp_url,
                        type=type_,
                        until=until,
                        created_at=time_of(mute_value["at"]) or now,
                    )
                )
    kept.filter(pk__in=over).delete()
    Mute.objects.bulk_create(
        wanted,
        update_conflicts=True,
        unique_fields=["account", "dapp_url", "type"],
        update_fields=["until", "created_at"],
    )
    return preference_events(account, values)


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
