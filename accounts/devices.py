"""Devices: one per browser session, each a client of the protocol (W1 or Wx).

reliability.md, item 16. A device lives as long as its session: idle for at most
``SESSION_COOKIE_AGE``, in all for ``SESSION_ABSOLUTE_AGE`` since its wallet last signed.
However a device ends, its session is deleted and open sockets are closed through its group.
Revoking unregisters its identity keys as well; signing out or staying away too long leaves
the account one key, so that the inbox goes on working for its owner.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, TypedDict

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Q

from accounts.audit import audit, one_line
from accounts.events import EventDraft, record_events
from accounts.groups import device_group, send_to_groups
from accounts.models import Device, EventKind
from accounts.sessions import session_digest
from accounts.signals import devices_revoked, sessions_ended
from common import clock
from common.work_queue import repeat

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from django.dispatch import Signal

    from accounts.models import User

NAME_LENGTH: Final = 64
USER_AGENT_LENGTH: Final = 256
SEEN_AGAIN_AFTER = timedelta(minutes=1)
# A device that was made but whose browser never came back with its session.
UNBOUND_FOR = timedelta(minutes=10)
FRESH_FOR = timedelta(minutes=10)
EXPIRED_BATCH_SIZE: Final = 200

# The first that is found in the user agent names it; the order is what tells apart
# browsers that all claim to be the others as well.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Vivaldi", "Vivaldi"),
    ("Brave", "Brave"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python", "Python"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "Chromebook"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
)


class DeviceRevoked(TypedDict):
    """What the group ``device.<uuid>`` hears: close, and say who did it."""

    type: Literal["device.revoked"]
    device: str
    by: str


def device_name(user_agent: str) -> str:
    """ "Firefox · Mac" for the user agent of Firefox on a Mac."""
    browser = _first_named(user_agent, _BROWSERS) or "Browser"
    system = _first_named(user_agent, _SYSTEMS)
    return f"{browser} · {system}" if system else browser


def _first_named(user_agent: str, names: Iterable[tuple[str, str]]) -> str:
    return next((name for mark, name in names if mark in user_agent), "")


def free_name(user: User, wanted: str, *, but: Device | None = None) -> str:
    """``wanted``, numbered if another active device of the user is called that.

    Two windows of one kind of browser have the same user agent; the sync log, which
    names the device that made a change, would otherwise not tell them apart.
    """
    others = Device.objects.active().filter(user=user)
    if but is not None:
        others = others.exclude(pk=but.pk)
    taken = {name.casefold() for name in others.values_list("name", flat=True)}
    if wanted.casefold() not in taken:
        return wanted
    for number in itertools.count(2):
        numbered = f"{wanted[: NAME_LENGTH - len(f' {number}')]} {number}"
        if numbered.casefold() not in taken:
            break
    return numbered


def add_device(user: User, *, user_agent: str) -> Device:
    """A device of a user who has just signed in; ``bind_session`` completes it."""
    now = clock.now()
    device = Device.objects.create(
        user=user,
        name=free_name(user, device_name(user_agent)),
        user_agent=one_line(user_agent, longest=USER_AGENT_LENGTH),
        created_at=now,
        proved_at=now,
        last_seen_at=now,
    )
    audit("device.added", actor=user, device=device, detail=device.name)
    record_events([device_changed(device)])
    return device


def device_changed(device: Device) -> EventDraft:
    return EventDraft(
        None, EventKind.DEVICE, f"accounts.device:{device.pk}", user_id=device.user_id
    )


def bind_session(device: Device, session_key: str) -> None:
    """Make the session the device's, and the device's only one.

    For the view that signed in: after Django's ``login`` gave the session a new key.
    """
    digest = session_digest(session_key)
    with transaction.atomic():
        _unbind(Device.objects.filter(session_digest=digest).exclude(pk=device.pk))
        device.session_digest = digest
        device.save(update_fields=["session_digest"])


def _unbind(devices: Iterable[Device]) -> None:
    # The browser signed in as somebody else: its former device has no session now.
    revoke_devices([device.pk for device in devices], by=None)


def prove_device(device: Device) -> None:
    """A wallet has just signed for this device: its age counts anew."""
    device.proved_at = clock.now()
    device.save(update_fields=["proved_at"])


def device_of_session(session_key: str | None) -> Device | None:
    """The living device of a session, with its user; None if the session is no good.

    The one question for every request and every socket. Notes that the device was
    seen, at most once a minute.
    """
    if not session_key:
        return None
    device = (
        Device.objects.active()
        .select_related("user")
        .filter(session_digest=session_digest(session_key), user__is_active=True)
        .first()
    )
    if device is None or not is_alive(device, clock.now()):
        return None
    touch_device(device)
    return device


def is_alive(device: Device, now: datetime) -> bool:
    idle = now - device.last_seen_at
    age = now - device.proved_at
    return (
        device.is_active()
        and idle.total_seconds() < settings.SESSION_COOKIE_AGE
        and age.total_seconds() < settings.SESSION_ABSOLUTE_AGE
    )


def is_fresh(device: Device) -> bool:
    """Whether the wallet signed in the last ten minutes: asked before dangerous acts."""
    return clock.now() - device.proved_at < FRESH_FOR


def touch_device(device: Device) -> bool:
    """Note that the device was seen, at most once a minute; True if it was noted."""
    now = clock.now()
    if now - device.last_seen_at < SEEN_AGAIN_AFTER:
        return False
    changed = Device.objects.filter(
        pk=device.pk, last_seen_at__lte=now - SEEN_AGAIN_AFTER
    ).update(last_seen_at=now)
    device.last_seen_at = now
    return bool(changed)


@transaction.atomic
def rename_device(device: Device, name: str) -> None:
    clean = one_line(name.strip(), longest=NAME_LENGTH)
    wanted = clean or device_name(device.user_agent)
    device.name = free_name(device.user, wanted, but=device)
    device.save(update_fields=["name"])
    record_events([device_changed(device)])


# --- the end of a device --------------------------------------------------------------


def revoke_device(device: Device, *, by: Device | None) -> bool:
    """End the device's session and its identity keys; False if it was over before."""
    return bool(revoke_devices([device.pk], by=by))


def revoke_devices(device_ids: Iterable[UUID], *, by: Device | None) -> list[Device]:
    """As ``revoke_device``, for many. Returns those that were not over before."""
    return _end(device_ids, "device.revoked", devices_revoked, by=by)


def sign_out_device(device: Device) -> bool:
    """End the device's session. Unlike revoking, this leaves the inbox at work: the
    account's last identity key goes on acknowledging and renewing."""
    return bool(_end([device.pk], "device.signed-out", sessions_ended, by=device))


@transaction.atomic
def _end(
    device_ids: Iterable[UUID], action: str, signal: Signal, *, by: Device | None
) -> list[Device]:
    devices = list(
        Device.objects.active()
        .select_for_update(of=("self",))
        .select_related("user")
        .filter(pk__in=list(device_ids))
        .order_by("pk")
    )
    if not devices:
        return []
    digests = [device.session_digest for device in devices if device.session_digest]
    for device in devices:
        device.revoked_at = clock.now()
        device.revoked_by = by
        device.session_digest = ""
    Device.objects.bulk_update(devices, ["revoked_at", "revoked_by", "session_digest"])
    Session.objects.filter(session_key__in=digests).delete()
    signal.send(Device, devices=devices)
    for device in devices:
        actor = device.user if by is None else by.user
        audit(action, actor=actor, device=device, detail=device.name)
    record_events([device_changed(device) for device in devices])
    messages = {
        device_group(device.pk): DeviceRevoked(
            type="device.revoked",
            device=str(device.pk),
            by="" if by is None else by.name,
        )
        for device in devices
    }
    transaction.on_commit(lambda: send_to_groups(messages), robust=True)
    return devices


def revoke_other_devices(device: Device) -> list[Device]:
    """ "Sign out everywhere": every device of the user but this one."""
    others = Device.objects.active().filter(user_id=device.user_id)
    return revoke_devices(
        others.exclude(pk=device.pk).values_list("pk", flat=True), by=device
    )


def expire_devices() -> int:
    """End devices whose sessions are over, revoke those that never began; a sweep."""
    return repeat(_expire_some)


def _expire_some() -> int:
    now = clock.now()
    idle = now - timedelta(seconds=settings.SESSION_COOKIE_AGE)
    oldest = now - timedelta(seconds=settings.SESSION_ABSOLUTE_AGE)
    active = Device.objects.active().order_by("pk").values_list("pk", flat=True)
    never = active.filter(session_digest="", proved_at__lte=now - UNBOUND_FOR)
    over = active.filter(Q(last_seen_at__lte=idle) | Q(proved_at__lte=oldest))
    revoked = revoke_devices(never[:EXPIRED_BATCH_SIZE], by=None)
    expired = _end(over[:EXPIRED_BATCH_SIZE], "device.expired", sessions_ended, by=None)
    return len(revoked) + len(expired)
