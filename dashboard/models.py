"""What the pages store: submitted forms, so that each takes effect once; saved filters."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, ClassVar

from django.db import models

from accounts.models import Account, Device, User

if TYPE_CHECKING:
    from datetime import datetime


class FormSubmission(models.Model):
    """A submitted form that created something, and the page that shows the result.

    A repeated submission (second click, second tab, reload) finds this row and creates
    nothing. A secret that the result page shows is sealed here for ten minutes: it has to
    survive the redirect, and must not appear in the URL or the session.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    form = models.CharField(max_length=64)
    key = models.CharField(
        max_length=64, help_text="digest of the form, its token and its content"
    )
    location = models.CharField(max_length=512, help_text="path of the result")
    sealed_secret = models.BinaryField(default=b"", editable=False)
    created_at = models.DateTimeField(db_index=True)
    secret_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["device", "key"], name="form_submission_is_unique_per_device"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["device", "form", "-created_at"],
                name="form_submission_newest_first",
            )
        ]

    def __str__(self) -> str:
        return f"{self.form} at {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def context(self) -> tuple[str, str, str, str]:
        """Binds the sealed secret to this row and device."""
        table = FormSubmission._meta.db_table
        return (table, "sealed_secret", str(self.pk), str(self.device_id))

    def holds_secret(self, now: datetime) -> bool:
        is_open = self.secret_until is not None and now < self.secret_until
        return is_open and bool(self.sealed_secret)


class SavedFilter(models.Model):
    """A view of the inbox that a person has named: tab and filters as a query string."""

    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="saved_filters"
    )
    name = models.CharField(max_length=40)
    query = models.CharField(max_length=1024)
    # The account in ``query``, with which the filter goes.
    account = models.ForeignKey(
        Account, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "name"], name="saved_filter_is_unique"
            )
        ]

    def __str__(self) -> str:
        return self.name
