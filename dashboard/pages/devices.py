"""The user's devices: identity keys, subscriptions, and progress in the shared stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Count, Max

from accounts.models import Device
from identity.models import IdentityKey
from subscriptions.models import Subscription
from syncstore.models import DeviceCursor, StoreUpdate

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class DeviceCard:
    device: Device
    is_this: bool
    identity_keys: list[IdentityKey]
    started: int
    received: int
    behind: int

    @property
    def picture(self) -> str:
        agent = self.device.user_agent
        if any(mark in agent for mark in ("iPhone", "Android", "Mobile")):
            return "smartphone"
        return "square-terminal" if "curl" in agent else "laptop"


def device_cards(user_id: int, this: UUID) -> list[DeviceCard]:
    found = Device.objects.active().filter(user_id=user_id)
    devices = list(found.order_by("-last_seen_at"))
    devices.sort(key=lambda device: device.pk != this)
    keys = [device.pk for device in devices]
    identity: dict[UUID, list[IdentityKey]] = {}
    own_keys = IdentityKey.objects.filter(device__in=keys, retired_at=None)
    for identity_key in own_keys.select_related("account"):
        identity.setdefault(identity_key.device_id, []).append(identity_key)
    started = dict(
        Subscription.objects.of_user(user_id)
        .active()
        .filter(device__in=keys)
        .values_list("device")
        .annotate(number=Count("pk"))
    )
    total = Subscription.objects.of_user(user_id).active().count()
    # Stores whose newest update the device has not applied.
    heads = dict(
        StoreUpdate.objects.filter(
            store__account__user_id=user_id, outcome=StoreUpdate.Outcome.APPLIED
        )
        .values_list("store")
        .annotate(head=Max("pk"))
    )
    behind: dict[UUID, int] = {}
    cursors = DeviceCursor.objects.filter(device__in=keys)
    for device_pk, store, applied in cursors.values_list(
        "device", "store", "update_pk"
    ):
        if applied < heads.get(store, 0):
            behind[device_pk] = behind.get(device_pk, 0) + 1
    return [
        DeviceCard(
            device=device,
            is_this=device.pk == this,
            identity_keys=identity.get(device.pk, []),
            started=started.get(device.pk, 0),
            received=total - started.get(device.pk, 0),
            behind=behind.get(device.pk, 0),
        )
        for device in devices
    ]


def other_devices(user_id: int, this: UUID) -> list[Device]:
    found = Device.objects.active().filter(user_id=user_id).exclude(pk=this)
    return list(found.order_by("created_at"))


def device_of_user(user_id: int, device_id: UUID) -> Device | None:
    return Device.objects.active().filter(user_id=user_id, pk=device_id).first()
