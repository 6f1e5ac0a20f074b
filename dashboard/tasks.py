"""Periodic tasks."""

from __future__ import annotations

from celery import shared_task

from dashboard import submissions


@shared_task(name="dashboard.prune_submissions")
def prune_submissions() -> int:
    return submissions.prune_submissions()
