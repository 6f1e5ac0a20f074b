"""Tasks of the sync stores. What is due is in the database; arguments are hints."""

from __future__ import annotations

from celery import shared_task

from syncstore import services

TIME_LIMIT_S = 590


@shared_task(
    name="syncstore.cold_start",
    acks_late=True,
    reject_on_worker_lost=True,
    time_limit=TIME_LIMIT_S,
    ignore_result=True,
)
def cold_start(pk: int) -> None:
    """Replay the stores of one account from History."""
    services.cold_start(pk)


@shared_task(name="syncstore.resume_cold_starts", ignore_result=True)
def resume_cold_starts() -> None:
    """Go on with replays that a lost task, a dead worker or a silent server left."""
    for pk in services.due_cold_starts():
        cold_start.delay(pk)


@shared_task(name="syncstore.prune_updates", ignore_result=True, time_limit=600)
def prune_updates() -> None:
    """Shorten the log of updates."""
    services.prune_updates()
