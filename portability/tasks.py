"""What ``portability`` does by task."""

from __future__ import annotations

from celery import shared_task

from portability.services import uploads


@shared_task(name="portability.prune")
def prune() -> int:
    return uploads.prune()
