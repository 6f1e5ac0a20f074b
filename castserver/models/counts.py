"""Counters of what a project sent, for pages that must not count deliveries."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from castserver.models.projects import Project


class ProjectCount(models.Model):
    """A part of a project's counters of one day (UTC); their sum is the number.

    PostgreSQL writes the parts by triggers on notifications and deliveries, one for each
    statement of any process. Every statement inserts a part of its own, since a single
    row would make all workers of a project wait for each other. ``castserver.prune``
    merges the parts of a day.
    """

    # Without an index: that of days begins with it.
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="counts", db_index=False
    )
    day = models.DateField(help_text="of the delivery")
    notifications = models.BigIntegerField(default=0)
    sent = models.BigIntegerField(default=0)
    received = models.BigIntegerField(default=0)
    read = models.BigIntegerField(default=0)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["project", "day"], name="project_count_by_day")
        ]

    def __str__(self) -> str:
        return f"{self.project_id} {self.day}: {self.sent} sent"
