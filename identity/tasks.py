"""Tasks that call other Keys Servers and chains, and the sweep of old rows."""

from __future__ import annotations

from celery import shared_task

from common.drain import DRAIN_TIME_LIMIT_S, single_run
from identity import services
from identity.services.contract_wallets import CHECK_TASK
from identity.services.device_keys import REGISTER_TASK, UNREGISTER_TASK
from identity.services.resolving import LOOK_UP_TASK


@shared_task(
    name=REGISTER_TASK,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
)
def register_identity_keys() -> None:
    single_run(REGISTER_TASK, services.register_due_keys)


@shared_task(
    name=UNREGISTER_TASK,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
)
def unregister_identity_keys() -> None:
    single_run(UNREGISTER_TASK, services.unregister_due_keys)


@shared_task(
    name=LOOK_UP_TASK,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
)
def look_up_identities() -> None:
    single_run(LOOK_UP_TASK, services.look_up_identities)


@shared_task(
    name=CHECK_TASK,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
)
def check_contracts() -> None:
    single_run(CHECK_TASK, services.check_contracts)


@shared_task(name="identity.prune")
def prune() -> int:
    return services.prune()
