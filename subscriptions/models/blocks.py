"""Dapps that an account receives nothing from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from accounts.models import Account

if TYPE_CHECKING:
    from collections.abc import Iterable


class BlockedDappQuerySet(models.QuerySet["BlockedDapp"]):
    def covers(self, account_id: int, dapp_url: str) -> bool:
        return self.filter(account_id=account_id, dapp_url=dapp_url).exists()

    def pairs(self, account_ids: Iterable[int]) -> set[tuple[int, str]]:
        """Account and dapp of each block of these accounts; one query."""
        found = self.filter(account_id__in=set(account_ids))
        return set(found.values_list("account_id", "dapp_url"))


class BlockedDapp(models.Model):
    """A dapp whose notifications are dropped and that cannot be subscribed to.

    The block is of the dapp, not of a subscription: one that another wallet makes, and
    that comes through Sync or from a server's list, is blocked as well.
    """

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="blocked_dapps"
    )
    dapp_url = models.CharField(max_length=2048)
    name = models.CharField(max_length=128)
    # What was on, to be requested again when the block ends.
    types = models.JSONField(default=list)
    created_at = models.DateTimeField()

    objects = BlockedDappQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "dapp_url"], name="blocked_dapp_is_unique"
            )
        ]

    def __str__(self) -> str:
        return self.name
