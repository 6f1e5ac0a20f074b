"""Tasks of the sync stores."""

from __future__ import annotations

from celery import shared_task

from syncstore import services

# Below the lease of a cold start (ten minutes): a hanging task ends before another one
# takes its row.
TIME_LIMIT_S = 590
SOFT_TIME_LIMIT_S = TIME_LIMIT_S - 10


@shared_task(
    name="syncstore.cold_start",
    time_limit=TIME_LIMIT_S,
    soft_time_limit=SOFT_TIME_LIMIT_S,
)
def cold_start() -> None:
    """Replay the stores of one due account from History."""
    services.cold_start()


@shared_task(
    name="syncstore.check_stores",
    time_limit=TIME_LIMIT_S,
    soft_time_limit=SOFT_TIME_LIMIT_S,
)
def check_stores() -> None:
    """Compare the due accounts' stores with the archive."""
    while services.check_due():
        pass


@shared_task(name="syncstore.prune_updates")
def prune_updates() -> None:
    """Shorten the log of updates."""
    services.prune_updates()
