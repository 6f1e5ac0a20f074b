"""Pending work on subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from common import clock
from common.work_queue import NO_WORK, WorkItem, WorkQuerySet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from subscriptions.models import Subscription


class SubscriptionJobQuerySet(WorkQuerySet["SubscriptionJob"]):
    def of_kind(self, kind: SubscriptionJob.Kind) -> SubscriptionJobQuerySet:
        """Jobs of subscriptions that have not ended."""
        return self.filter(kind=kind, subscription__deleted_at=None)

    def schedule(
        self,
        kind: SubscriptionJob.Kind,
        rows: Iterable[Subscription],
        *,
        at: datetime | None = None,
    ) -> None:
        """Queue a job for ``at``, or for now; in the caller's transaction.

        A running job of the kind loses its lease and starts again, since its result may
        predate the change that this call is for.
        """
        due = clock.now() if at is None else at
        self.bulk_create(
            [
                SubscriptionJob(subscription_id=pk, kind=kind, next_attempt_at=due)
                for pk in sorted({row.pk for row in rows})
            ],
            update_conflicts=True,
            unique_fields=["subscription", "kind"],
            update_fields=["next_attempt_at", "attempts", "leased_until", "leased_by"],
        )

    def cancel(
        self, rows: Iterable[Subscription], *kinds: SubscriptionJob.Kind
    ) -> None:
        """Cancel pending jobs, of these kinds or of all."""
        jobs = self.filter(
            subscription__in=[row.pk for row in rows], next_attempt_at__isnull=False
        )
        if kinds:
            jobs = jobs.filter(kind__in=kinds)
        jobs.update(**NO_WORK)


class SubscriptionJob(WorkItem):
    """One kind of work on one subscription. Done or failed rows are kept."""

    class Kind(models.TextChoices):
        HISTORY = "history", "read older messages from History"
        COMPLETE = "complete", "read the documents of a listed dapp, write the store"
        READS = "reads", "ask the server what was read in other clients"

    subscription = models.ForeignKey(
        "Subscription", on_delete=models.CASCADE, related_name="jobs"
    )
    kind = models.CharField(max_length=8, choices=Kind.choices)

    objects = SubscriptionJobQuerySet.as_manager()  # type: ignore[misc]  # a subclass

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subscription", "kind"], name="subscription_job_is_unique"
            )
        ]
        indexes: ClassVar = WorkItem.Meta.indexes

    def __str__(self) -> str:
        return f"{self.kind} of {self.subscription_id}"
