"""The user's devices: accounts, identity keys, subscriptions, position in the stores."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Count, Max

from accounts.models import Device
from dashboard.pages.sync import store_title
from identity.models import IdentityKey
from messaging.models import OutboxMessage, Party
from subscriptions.models import SubscribeAttempt, Subscription
from syncstore.models import DeviceCursor, Store, StoreUpdate

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Position:
    """How far a device is in a store: ``missing`` updates have not reached it."""

    store: Store
    update_pk: int
    missing: int

    @property
    def title(self) -> str:
        return store_title(self.store.name)


@dataclass(frozen=True, slots=True)
class DeviceCard:
    device: Device
    is_this: bool
    identity_keys: list[IdentityKey]
    started: int
    received: int
    positions: list[Position]
    # Changes made here that the relay or the dapp has not confirmed yet.
    pending: int

    @property
    def behind(self) -> int:
        return sum(each.missing > 0 for each in self.positions)

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
    positions = _positions(keys)
    pending = _pending(user_id, keys)
    return [
        DeviceCard(
            device=device,
            is_this=device.pk == this,
            identity_keys=identity.get(device.pk, []),
            started=started.get(device.pk, 0),
            received=total - started.get(device.pk, 0),
            positions=positions.get(device.pk, []),
            pending=pending[device.pk],
        )
        for device in devices
    ]


def _positions(devices: list[UUID]) -> dict[UUID, list[Position]]:
    cursors = list(
        DeviceCursor.objects.filter(device__in=devices)
        .select_related("store__account")
        .order_by("store_id")
    )
    # Only stores in which some device is not at the head: counting reads their log.
    heads = dict(
        StoreUpdate.objects.filter(store__in={each.store_id for each in cursors})
        .values_list("store")
        .annotate(head=Max("pk"))
    )
    found: dict[UUID, list[Position]] = {}
    for cursor in cursors:
        missing = 0
        if cursor.update_pk < heads.get(cursor.store_id, 0):
            missing = StoreUpdate.objects.filter(
                store=cursor.store_id, pk__gt=cursor.update_pk
            ).count()
        position = Position(cursor.store, cursor.update_pk, missing)
        found.setdefault(cursor.device_id, []).append(position)
    return found


def _pending(user_id: int, devices: list[UUID]) -> Counter[UUID]:
    """Store updates on their way to the relay, types and subscriptions to be confirmed."""
    waiting = OutboxMessage.objects.filter(
        party=Party.WALLET,
        state=OutboxMessage.State.DUE,
        topic__in=Store.objects.filter(account__user_id=user_id).values("topic"),
    )
    pending: Counter[UUID] = Counter(
        StoreUpdate.objects.filter(
            device__in=devices, outbox_id__in=waiting.values("pk")
        ).values_list("device", flat=True)
    )
    pending.update(
        Subscription.objects.of_user(user_id)
        .active()
        .filter(changed_by__in=devices, pending_update__isnull=False)
        .values_list("changed_by", flat=True)
    )
    pending.update(
        SubscribeAttempt.objects.filter(
            account__user_id=user_id,
            device__in=devices,
            state__in=SubscribeAttempt.OPEN,
        ).values_list("device", flat=True)
    )
    return pending


def other_devices(user_id: int, this: UUID) -> list[Device]:
    found = Device.objects.active().filter(user_id=user_id).exclude(pk=this)
    return list(found.order_by("created_at"))


def device_of_user(user_id: int, device_id: UUID) -> Device | None:
    return Device.objects.active().filter(user_id=user_id, pk=device_id).first()
