"""Sweeps: expired devices, old events and sign-in requests."""

from __future__ import annotations

from celery import shared_task

from accounts import services


@shared_task(name="accounts.expire_devices")
def expire_devices() -> int:
    return services.expire_devices()


@shared_task(name="accounts.prune")
def prune() -> int:
    return services.prune()
