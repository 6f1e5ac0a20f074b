"""The merged preferences of an account for each dapp.

The store keeps only the last update of a key. The document here keeps what was merged from
all of them, so that a concurrent change that the store dropped can be written again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from accounts.models import Account
from preferences.document import parse_stored
from walletconnect.sync.store import MAX_KEY_LENGTH

if TYPE_CHECKING:
    from walletconnect.json_values import JsonObject


class DappPreferences(models.Model):
    """One document; ``dapp_url`` is its key in the store."""

    account = models.ForeignKey(
        Account,
        on_delete=models.CASCADE,
        related_name="dapp_preferences",
        # The unique constraint begins with the account.
        db_index=False,
    )
    dapp_url = models.CharField(max_length=MAX_KEY_LENGTH)
    # Text, not jsonb: it is compared as text, and jsonb would change numbers and keys.
    document = models.TextField(help_text="canonical JSON")
    updated_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "dapp_url"], name="dapp_preferences_are_unique"
            )
        ]
        verbose_name_plural = "dapp preferences"

    def __str__(self) -> str:
        return self.dapp_url

    @property
    def value(self) -> JsonObject:
        return parse_stored(self.document)
