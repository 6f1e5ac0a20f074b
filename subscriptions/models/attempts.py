"""A subscribe attempt: one run of the twenty steps, on W1's side."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from accounts.models import Account, Device
from common.work_queue import WorkItem
from subscriptions.models.dapps import URL_LENGTH
from walletconnect.crypto.keys import Topic
from walletconnect.identity.did import AccountId
from walletconnect.notify.scope import ScopeMap
from walletconnect.notify.subscribe import PendingSubscribe
from walletconnect.notify.values import Metadata


class SubscribeAttempt(WorkItem):
    """One run of the twenty steps. As a work item: the dapp's documents to be read."""

    class State(models.TextChoices):
        RESOLVING = "resolving"
        REQUESTED = "requested"
        SETTLED = "settled"
        SYNCED = "synced"
        REJECTED = "rejected"
        EXPIRED = "expired"

    retry_changes: ClassVar = None

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="subscribe_attempts"
    )
    device = models.ForeignKey(
        Device, null=True, on_delete=models.SET_NULL, related_name="subscribe_attempts"
    )
    dapp_url = models.CharField(max_length=URL_LENGTH)
    # Type names that the person chose; null means every type of the dapp.
    wanted_types = models.JSONField(null=True, blank=True)
    state = models.CharField(
        max_length=10, choices=State.choices, default=State.RESOLVING
    )
    last_step = models.PositiveSmallIntegerField(default=0)
    # Empty until step 6. Identifies the run in runlog.StepRecord.
    response_topic = models.CharField(max_length=64, blank=True, db_index=True)
    topic_of_key_pair_y = models.CharField(max_length=64, blank=True)
    rpc_id = models.BigIntegerField(null=True, blank=True)
    # ``iss`` and ``aud`` of the subscriptionAuth.
    identity_did = models.CharField(max_length=64, blank=True)
    dapp_authentication_did = models.CharField(max_length=64, blank=True)
    scope = models.JSONField(default=dict, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    subscription = models.ForeignKey(
        "Subscription",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="attempts",
    )
    created_at = models.DateTimeField()
    requested_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)

    OPEN = (State.RESOLVING, State.REQUESTED)

    class Meta:
        constraints: ClassVar = [
            # Pressing Subscribe twice starts one run.
            models.UniqueConstraint(
                fields=["account", "dapp_url"],
                condition=models.Q(state__in=["resolving", "requested"]),
                name="one_open_attempt_per_account_and_dapp",
            )
        ]
        indexes: ClassVar = [
            *WorkItem.Meta.indexes,
            models.Index(fields=["created_at"], name="subscribe_attempt_by_age"),
            models.Index(
                fields=["expires_at"],
                name="subscribe_attempt_open",
                condition=models.Q(state__in=["resolving", "requested"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.dapp_url}: {self.state}"

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN

    @property
    def pending(self) -> PendingSubscribe:
        """The state that the core needs to settle the answer; of a requested attempt."""
        return PendingSubscribe(
            request_id=self.rpc_id or 0,
            account=AccountId.parse(self.account.address),
            identity_did=self.identity_did,
            dapp_did=self.dapp_authentication_did,
            response_topic=Topic(self.response_topic),
            metadata=Metadata.from_value(self.metadata),
            scope=ScopeMap.from_value(self.scope),
            expires_at=int(self.expires_at.timestamp()),
        )
