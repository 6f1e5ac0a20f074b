"""Celery tasks. They have no arguments: the rows determine what is due, so that a lost,
late or repeated task changes nothing.
"""

from __future__ import annotations

from celery import shared_task

from messaging import services
from messaging.inbox import LEASE

# A task ends well before its lease does.
TIME_LIMIT_S = LEASE.seconds - 5
BUDGET_S = 20.0


@shared_task(name="messaging.handle_inbox", time_limit=TIME_LIMIT_S)
def handle_inbox() -> None:
    """Handle the due rows of the inbox."""
    if services.handle_due(BUDGET_S):
        services.start_handling()


@shared_task(name="messaging.sweep", time_limit=TIME_LIMIT_S)
def sweep() -> None:
    """Resend wake-ups for all that is due."""
    services.sweep()


@shared_task(name="messaging.prune")
def prune() -> None:
    """Delete old rows."""
    services.prune()
