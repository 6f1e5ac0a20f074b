"""Tasks that call other Keys Servers and chains, and the sweep of old rows."""

from __future__ import annotations

from celery import shared_task

from common.drain import drain_task
from identity import services
from identity.services.contract_wallets import CHECK_TASK
from identity.services.device_keys import REGISTER_TASK, UNREGISTER_TASK
from identity.services.resolving import LOOK_UP_TASK


@drain_task(REGISTER_TASK)
def register_identity_keys() -> None:
    services.register_due_keys()


@drain_task(UNREGISTER_TASK)
def unregister_identity_keys() -> None:
    services.unregister_due_keys()


@drain_task(LOOK_UP_TASK)
def look_up_identities() -> None:
    services.look_up_identities()


@drain_task(CHECK_TASK)
def check_contracts() -> None:
    services.check_contracts()


@shared_task(name="identity.prune")
def prune() -> int:
    return services.prune()
