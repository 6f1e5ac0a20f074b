"""Uploaded exports that wait for the person's confirmation.

In the database, since the next request may reach another machine.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from accounts.models import Account, Device


class PreparedImport(models.Model):
    """An export that was uploaded and checked, and what importing it would change."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="+")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    # Needed once more when the import is confirmed; empty without one.
    sealed_passphrase = models.BinaryField(default=b"", editable=False)
    preview = models.JSONField(help_text="an ImportReport")
    created_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"import into {self.account_id}"

    @property
    def context(self) -> tuple[str, str, str, str]:
        """Binds the sealed passphrase to this row and device."""
        table = PreparedImport._meta.db_table
        return (table, "sealed_passphrase", str(self.pk), str(self.device_id))


class PreparedImportPart(models.Model):
    """A piece of the uploaded file, in order: no process holds the whole file."""

    prepared = models.ForeignKey(
        PreparedImport,
        on_delete=models.CASCADE,
        related_name="parts",
        # The unique constraint begins with it.
        db_index=False,
    )
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["prepared", "number"], name="prepared_import_part_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"part {self.number} of {self.prepared_id}"
