"""A dapp's two documents as they were last read, and its pinned keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from walletconnect.notify.scope import NotificationType
from walletconnect.notify.values import Metadata

if TYPE_CHECKING:
    from datetime import datetime

REASON_LENGTH = 200
URL_LENGTH = 512


class DappDocument(models.Model):
    """A dapp's did.json and wc-notify-config.json. Keys are pinned."""

    url = models.CharField("dapp URL", max_length=URL_LENGTH, unique=True)
    domain = models.CharField(max_length=URL_LENGTH)
    public_key_x = models.CharField("X25519 key, hex", max_length=64, blank=True)
    authentication_key = models.CharField("did:key", max_length=64, blank=True)
    # Keys that differ from the pinned ones, until a person accepts them:
    # {"publicKeyX", "authenticationKey", "seenAt"}.
    changed_keys = models.JSONField(null=True, blank=True)
    # Pinned authentication keys that handed over to the next ones by their signature:
    # [{"did", "until"}], until when (in seconds) messages that they signed count.
    previous_keys = models.JSONField(default=list, blank=True)
    name = models.CharField(max_length=256, blank=True)
    description = models.TextField(blank=True)
    icons = models.JSONField(default=list, blank=True)
    # [{"name", "title", "description"}], in the document's order; "name" is the name in
    # a scope, "title" is for display.
    types = models.JSONField(default=list, blank=True)
    # When both documents were last read successfully, when they were last requested,
    # and until when that result is valid.
    fetched_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True, db_index=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(
        "why the last check failed", max_length=REASON_LENGTH, blank=True
    )
    # Whether a retry may help: the network failed, not the document.
    may_pass = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.url

    @property
    def is_usable(self) -> bool:
        """Read successfully at least once, with the keys that were pinned."""
        return bool(self.public_key_x) and self.changed_keys is None

    def is_current(self, now: datetime) -> bool:
        return self.expires_at is not None and now < self.expires_at

    @property
    def metadata(self) -> Metadata:
        return Metadata(
            name=self.name or self.domain,
            description=self.description,
            url=self.url,
            icons=tuple(self.icons),
        )

    @property
    def notification_types(self) -> tuple[NotificationType, ...]:
        return tuple(
            NotificationType(
                name=each.get("title") or each["name"],
                description=each.get("description", ""),
                id=each["name"],
            )
            for each in self.types
        )
