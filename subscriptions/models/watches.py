"""Watches of accounts at a Cast Server, whose lists of subscriptions they receive.

Key pair and key of a watch are in the keychain, found by topic.
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
    """A Cast Server that our accounts watch, with the keys of its did.json."""

    url = models.CharField(max_length=URL_LENGTH, unique=True)
    public_key = models.CharField("X25519 key, hex", max_length=64, blank=True)
    authentication_did = models.CharField("did:key", max_length=64, blank=True)
    # When the document was last read successfully, and until when the last attempt counts.
    fetched_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField("failed attempts in a row", default=0)
    reason = models.CharField(
        "why the last attempt failed", max_length=REASON_LENGTH, blank=True
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
        """The keys of a usable server."""
        return DidWebDocument(
            did="",
            key_agreement=bytes.fromhex(self.public_key),
            authentication=public_key_of(self.authentication_did),
        )


class AccountWatch(WorkItem):
    """An account receives its list of subscriptions from a Cast Server.

    ``next_attempt_at`` is when to send the next request: a retry, a renewal before the
    server drops the watcher, or at once after a client has signed in.
    """

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="watches"
    )
    server = models.ForeignKey(
        WatchedServer, on_delete=models.CASCADE, related_name="watches"
    )
    # The ``aud`` and the ``iss`` that lists must have.
    identity_did = models.CharField(max_length=64, blank=True)
    server_did = models.CharField(max_length=64, blank=True)
    # One permanent key pair per account and server, so that the topic stays the same.
    topic_of_key_pair = models.CharField(max_length=64, blank=True)
    response_topic = models.CharField(max_length=64, blank=True, db_index=True)
    rpc_id = models.BigIntegerField(null=True, blank=True)
    requested_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    # Lists may arrive out of order: one older than this is not applied.
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
        """The state that the core needs to verify the server's lists."""
        return PendingWatch(
            request_id=self.rpc_id or 0,
            account=AccountId.parse(self.account.address),
            identity_did=self.identity_did,
            server_did=self.server_did,
        )
