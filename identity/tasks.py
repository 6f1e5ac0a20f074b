"""Telling other Keys Servers about our keys, until they have answered."""

from __future__ import annotations

from celery import shared_task

from identity import services


@shared_task(name="identity.register_identity_key")
def register_identity_key(pk: int) -> None:
    services.register_identity_key(pk)


@shared_task(name="identity.unregister_identity_key")
def unregister_identity_key(pk: int) -> None:
    services.unregister_identity_key(pk)


@shared_task(name="identity.retry_registrations")
def retry_registrations() -> int:
    return services.retry_registrations()


@shared_task(name="identity.prune")
def prune() -> int:
    return services.prune()
