"""Icons of dapps and of notifications, as we serve them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models import Value
from django.db.models.functions import Coalesce

from accounts.models import Account
from common.work_queue import WorkItem, WorkQuerySet, host_of
from subscriptions.models.dapps import REASON_LENGTH, URL_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable


class IconQuerySet(WorkQuerySet["Icon"]):
    def as_queue(self) -> IconQuerySet:
        """With the columns that claims are bounded by."""
        # No account has the key 0: it stands for the documents of dapps.
        return self.annotate(
            owner=Coalesce("account_id", Value(0)), host=host_of("url")
        )

    def digests(self, urls: Iterable[str]) -> dict[str, str]:
        """The digest of each address whose picture we have."""
        rows = self.filter(url__in={url for url in urls if url}).exclude(digest="")
        return dict(rows.values_list("url", "digest"))


class Icon(WorkItem):
    """The picture at an address that a dapp named. As a work item: to be fetched."""

    url = models.CharField(max_length=URL_LENGTH, unique=True)
    # Whose notification named it first; null if it is in a dapp's document.
    account = models.ForeignKey(
        Account, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    dapp_url = models.CharField(max_length=2048)
    # WebP, re-encoded by us; empty until it was fetched, or if it is not usable.
    picture = models.BinaryField(blank=True, default=b"")
    digest = models.CharField(max_length=32, blank=True)
    # Not ``reason``: a picture that is not usable needs no operator.
    problem = models.CharField(
        "why there is no picture", max_length=REASON_LENGTH, blank=True
    )
    wanted_at = models.DateTimeField()
    # When what was found is fetched again if it is still wanted.
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = IconQuerySet.as_manager()  # type: ignore[misc]  # a subclass

    class Meta:
        indexes: ClassVar = [
            *WorkItem.Meta.indexes,
            models.Index(
                fields=["digest"],
                name="icon_by_digest",
                condition=~models.Q(digest=""),
            ),
            # What one dapp has named, oldest first; and what is no longer wanted.
            models.Index(
                fields=["account", "dapp_url", "wanted_at"], name="icon_by_dapp"
            ),
            models.Index(fields=["wanted_at"], name="icon_by_age"),
        ]

    def __str__(self) -> str:
        return self.url
