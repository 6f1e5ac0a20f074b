"""Devices: one per browser session, each a client of the protocol (W1 or Wx).

A device lasts as long as its session: idle for at most ``SESSION_COOKIE_AGE``, in all for
``SESSION_ABSOLUTE_AGE`` since its wallet last signed. However a device ends, its session is
deleted and its open sockets are closed. Revoking also unregisters its identity keys; signing
out and expiry leave the account one key, so that receipts and renewals continue.
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
from accounts.channels import Head
from accounts.events import EventDraft, record_events
from accounts.groups import send_hint
from accounts.models import Device, EventKind
from accounts.sessions import session_digest
from accounts.signals import devices_revoked, sessions_ended
from common import clock
from common.work_queue import in_batches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime
    from uuid import UUID

    from django.dispatch import Signal

    from accounts.models import User

NAME_LENGTH: Final = 64
USER_AGENT_LENGTH: Final = 256
SEEN_INTERVAL = timedelta(minutes=1)
# Devices that were created but whose browser never returned with the session.
UNBOUND_FOR = timedelta(minutes=10)
FRESH_FOR = timedelta(minutes=10)
EXPIRED_BATCH_SIZE: Final = 200

# The first match names the browser. The order matters: Edge and Opera also claim to be
# Chrome, and Chrome claims to be Safari.
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


class RevokedDevice(TypedDict):
    """``by`` is the name of the device that revoked it; empty if none did."""

    user: int
    device: str
    by: str


class DevicesRevoked(TypedDict):
    """What the web processes receive."""

    type: Literal["devices.revoked"]
    devices: list[RevokedDevice]


def device_name(user_agent: str) -> str:
    """ "Firefox · Mac" for the user agent of Firefox on a Mac."""
    browser = _first_named(user_agent, _BROWSERS) or "Browser"
    system = _first_named(user_agent, _SYSTEMS)
    return f"{browser} · {system}" if system else browser


def _first_named(user_agent: str, names: Iterable[tuple[str, str]]) -> str:
    return next((name for mark, name in names if mark in user_agent), "")


def free_name(user: User, wanted: str, *, but: Device | None = None) -> str:
    """``wanted``, numbered if another active device of the user has that name.

    Two windows of one browser have the same user agent, and the sync log names devices.
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
    """Bind the session to the device, in place of an earlier one.

    Called by the view that signed in, after Django's ``login`` changed the session key.
    """
    digest = session_digest(session_key)
    with transaction.atomic():
        # The browser signed in as another user: its former device has no session now.
        former = Device.objects.filter(session_digest=digest).exclude(pk=device.pk)
        revoke_devices(former.values_list("pk", flat=True), by=None)
        device.session_digest = digest
        device.save(update_fields=["session_digest"])


def prove_device(device: Device) -> None:
    """A wallet has just signed for this device: its maximal age starts again."""
    device.proved_at = clock.now()
    device.save(update_fields=["proved_at"])


def device_of_session(session_key: str | None) -> Device | None:
    """The device of a valid session, with its user; None if the session is not valid.

    Every request and every socket calls this. It records, at most once a minute, that
    the device was seen.
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


def heads_of_sessions(session_keys: Collection[str]) -> dict[str, Head]:
    """As ``device_of_session`` for many sessions: the head of each valid one's user.

    One query, and one update if a device was not seen for a minute.
    """
    keys = {session_digest(key): key for key in session_keys if key}
    now = clock.now()
    devices = [
        device
        for device in Device.objects.active()
        .select_related("user")
        .filter(session_digest__in=list(keys), user__is_active=True)
        if is_alive(device, now)
    ]
    touch_devices(devices)
    return {
        keys[device.session_digest]: Head(
            device.user.event_sequence, device.user.event_generation
        )
        for device in devices
    }


def is_alive(device: Device, now: datetime) -> bool:
    idle = now - device.last_seen_at
    age = now - device.proved_at
    return (
        device.is_active()
        and idle.total_seconds() < settings.SESSION_COOKIE_AGE
        and age.total_seconds() < settings.SESSION_ABSOLUTE_AGE
    )


def is_fresh(device: Device) -> bool:
    """Whether the wallet signed in the last ten minutes; required for dangerous acts."""
    return clock.now() - device.proved_at < FRESH_FOR


def note_network(device: Device, network: str) -> None:
    """Record where the device was first seen; later requests do not change it."""
    Device.objects.filter(pk=device.pk, first_network="").update(first_network=network)
    device.first_network = network


def touch_device(device: Device) -> bool:
    """Record that the device was seen, at most once a minute; True if it was recorded."""
    return bool(touch_devices([device]))


def touch_devices(devices: Iterable[Device]) -> int:
    """As ``touch_device``, for many; how many were recorded."""
    now = clock.now()
    due = [device for device in devices if now - device.last_seen_at >= SEEN_INTERVAL]
    if not due:
        return 0
    # Another process may have been faster.
    changed = Device.objects.filter(
        pk__in=[device.pk for device in due], last_seen_at__lte=now - SEEN_INTERVAL
    ).update(last_seen_at=now)
    for device in due:
        device.last_seen_at = now
    return changed


@transaction.atomic
def rename_device(device: Device, name: str) -> None:
    clean = one_line(name.strip(), longest=NAME_LENGTH)
    wanted = clean or device_name(device.user_agent)
    device.name = free_name(device.user, wanted, but=device)
    device.save(update_fields=["name"])
    record_events([device_changed(device)])


# --- the end of a device --------------------------------------------------------------


def revoke_device(device: Device, *, by: Device | None) -> bool:
    """End the device's session and its identity keys; False if it had ended before."""
    return bool(revoke_devices([device.pk], by=by))


def revoke_devices(device_ids: Iterable[UUID], *, by: Device | None) -> list[Device]:
    """As ``revoke_device``, for many. Returns those that were active."""
    return _end(device_ids, "device.revoked", devices_revoked, by=by)


def sign_out_device(device: Device) -> bool:
    """End the device's session. Unlike revoking, this keeps the account's last identity
    key, which acknowledges notifications and renews subscriptions."""
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
    hint = DevicesRevoked(
        type="devices.revoked",
        devices=[
            RevokedDevice(
                user=device.user_id,
                device=str(device.pk),
                by="" if by is None else by.name,
            )
            for device in devices
        ],
    )
    transaction.on_commit(lambda: send_hint(hint), robust=True)
    return devices


def revoke_other_devices(device: Device) -> list[Device]:
    """ "Sign out everywhere": every device of the user but this one."""
    others = Device.objects.active().filter(user_id=device.user_id)
    return revoke_devices(
        others.exclude(pk=device.pk).values_list("pk", flat=True), by=device
    )


@in_batches
def expire_devices() -> int:
    """End devices with expired sessions, revoke those without a session."""
    now = clock.now()
    idle = now - timedelta(seconds=settings.SESSION_COOKIE_AGE)
    oldest = now - timedelta(seconds=settings.SESSION_ABSOLUTE_AGE)
    active = Device.objects.active().order_by("pk").values_list("pk", flat=True)
    unbound = active.filter(session_digest="", proved_at__lte=now - UNBOUND_FOR)
    expired = active.filter(Q(last_seen_at__lte=idle) | Q(proved_at__lte=oldest))
    revoked = revoke_devices(unbound[:EXPIRED_BATCH_SIZE], by=None)
    ended = _end(
        expired[:EXPIRED_BATCH_SIZE], "device.expired", sessions_ended, by=None
    )
    return len(revoked) + len(ended)
