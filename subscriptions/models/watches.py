"""Rows of watching: the Cast Server that tells our accounts what they are subscribed to.

Protocol.md, sections 10.1 and 10.3. Key pair and key of a watch are in the keychain, found
by topic. Django finds these models through ``subscriptions.models``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from accounts.models import Account
from common.work_queue import WorkItem
from subscriptions.models.dapps import REASON_LENGTH, URL_LENGTH
from walletconnect.identity.did import AccountId, DidWebDocument, public_key_of
from walletconnect.notify.watch import PendingWatch

if TYPE_CHECKING:
    from datetime import datetime


class WatchedServer(models.Model):
    """A Cast Server that our accounts watch, as its did.json says it."""

    url = models.CharField(max_length=URL_LENGTH, unique=True)
    public_key = models.CharField("X25519 key, hex", max_length=64, blank=True)
    authentication_did = models.CharField("did:key", max_length=64, blank=True)
    # When the document was last read well, and until when the last look holds.
    fetched_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField("failed looks in a row", default=0)
    reason = models.CharField(
        "why the last look failed", max_length=REASON_LENGTH, blank=True
    )
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.url

    @property
    def is_usable(self) -> bool:
        return bool(self.public_key)

    def is_current(self, now: datetime) -> bool:
        return self.expires_at is not None and now < self.expires_at

    @property
    def document(self) -> DidWebDocument:
        """Its keys, of a server that is usable."""
        return DidWebDocument(
            did="",
            key_agreement=bytes.fromhex(self.public_key),
            authentication=public_key_of(self.authentication_did),
        )


class AccountWatch(WorkItem):
    """An account is told by a Cast Server what it is subscribed to there.

    ``next_attempt_at`` is when to ask (again): a retry, a renewal before the server
    forgets us, or at once after somebody has signed in.
    """

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="watches"
    )
    server = models.ForeignKey(
        WatchedServer, on_delete=models.CASCADE, related_name="watches"
    )
    # Who asked, so whom lists are addressed to; and who has to have signed them.
    identity_did = models.CharField(max_length=64, blank=True)
    server_did = models.CharField(max_length=64, blank=True)
    # One key pair per account and server, for good: so the topic stays the same.
    topic_of_key_pair = models.CharField(max_length=64, blank=True)
    response_topic = models.CharField(max_length=64, blank=True, db_index=True)
    rpc_id = models.BigIntegerField(null=True, blank=True)
    requested_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    # Lists come late and out of order: an older one than this is not applied.
    list_iat = models.BigIntegerField(
        default=0, help_text="of the last list that was applied, seconds"
    )
    created_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "account watches"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "server"], name="one_watch_per_account_and_server"
            )
        ]
        indexes: ClassVar = WorkItem.Meta.indexes

    def __str__(self) -> str:
        return f"{self.account_id} at {self.server_id}"

    @property
    def pending(self) -> PendingWatch:
        """What the server's lists are read against."""
        return PendingWatch(
            request_id=self.rpc_id or 0,
            account=AccountId.parse(self.account.address),
            identity_did=self.identity_did,
            server_did=self.server_did,
        )
