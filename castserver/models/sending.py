"""What owners prepare for sending: lists of accounts, and templates."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from castserver.models.projects import Project
from castserver.models.subscribers import ACCOUNT_LENGTH


class RecipientList(models.Model):
    """Accounts to send to: an uploaded file, or those of one scheduled notification."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="recipient_lists"
    )
    # Empty: made for one scheduled notification, and not offered for others.
    name = models.CharField("file name", max_length=64, blank=True)
    size = models.PositiveIntegerField("accounts, once each", default=0)
    left_out = models.PositiveIntegerField("lines without an account", default=0)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["project", "-created_at"], name="recipient_list_newest"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.size}"


class Recipient(models.Model):
    """An account of a list. A list may have a million, so there is no other index."""

    recipients = models.ForeignKey(
        RecipientList,
        on_delete=models.CASCADE,
        related_name="accounts",
        db_index=False,
    )
    account = models.CharField("CAIP-10, as written", max_length=ACCOUNT_LENGTH)
    account_key = models.CharField(max_length=ACCOUNT_LENGTH)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["recipients", "account_key"], name="recipient_once"
            )
        ]

    def __str__(self) -> str:
        return self.account


class MessageTemplate(models.Model):
    """A notification with variables such as ``{{ amount }}``, stored under a name."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="templates"
    )
    name = models.CharField(max_length=64)
    type = models.CharField(max_length=64)
    title = models.CharField(max_length=64)
    body = models.CharField(max_length=255)
    icon = models.CharField(max_length=255, blank=True)
    url = models.CharField(max_length=255, blank=True)
    changed_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "name"], name="template_name_is_unique"
            )
        ]

    def __str__(self) -> str:
        return self.name
