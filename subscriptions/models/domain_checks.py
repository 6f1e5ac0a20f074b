"""A check of a dapp's domain that a person has started."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Final

from django.db import models

from accounts.models import User
from common.work_queue import WorkItem
from subscriptions.models.dapps import URL_LENGTH

if TYPE_CHECKING:
    from datetime import datetime

# More than two documents may take (5 s each) and the wait for a free thread.
MAX_CHECK_TIME: Final = timedelta(seconds=60)


class DomainCheck(WorkItem):
    """The report on a domain; a worker adds lines as it finds them."""

    retry_changes: ClassVar = None

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="domain_checks"
    )
    url = models.CharField("dapp URL", max_length=URL_LENGTH)
    lines = models.JSONField(
        default=list, blank=True, help_text="[{label, state, text, remedy}]"
    )
    waits_for = models.CharField(
        "document that is being fetched", max_length=64, blank=True
    )
    waits_since = models.DateTimeField(null=True, blank=True)
    # {"name", "description", "types": [{"name", "title", "description"}]} if the
    # documents are in order.
    offer = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            *WorkItem.Meta.indexes,
            models.Index(
                fields=["created_at"],
                name="domain_check_running",
                condition=models.Q(finished_at=None),
            ),
            models.Index(fields=["created_at"], name="domain_check_by_age"),
        ]

    def __str__(self) -> str:
        return self.url

    def is_running(self, now: datetime) -> bool:
        return self.finished_at is None and now < self.created_at + MAX_CHECK_TIME
