"""``Subscription`` mirrors ``NotifySubscription`` field by field, with its messages.

Spec: clients/notify/data-structures.md. ``symKey`` is in the keychain, found by ``topic``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.postgres.expressions import ArraySubquery
from django.db import models
from django.db.models.functions import MD5
from django.utils.translation import gettext_lazy as _

from accounts.models import Account, Device
from subscriptions.models.dapps import REASON_LENGTH
from subscriptions.models.watches import WatchedServer
from walletconnect.crypto.keys import Topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId, AppUrl
from walletconnect.notify.dialect import V0, V1
from walletconnect.notify.scope import ScopeMap
from walletconnect.notify.update import PendingUpdate
from walletconnect.notify.values import Metadata, NotifySubscription

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.dialect import Dialect


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def active(self) -> SubscriptionQuerySet:
        return self.filter(deleted_at=None)

    def of(self, account: Account) -> SubscriptionQuerySet:
        return self.filter(account=account)

    def of_user(self, user_id: int) -> SubscriptionQuerySet:
        return self.filter(account__user_id=user_id)

    def locked(self, *, skip: bool = False) -> SubscriptionQuerySet:
        """With a lock on each row, in the order of their keys, and with their accounts.

        ``skip`` leaves out rows that are locked already.
        """
        locked = self.select_for_update(of=("self",), skip_locked=skip)
        return locked.select_related("account").order_by("pk")

    def on_topics(self, topics: Iterable[str]) -> dict[str, Subscription]:
        """Each by its topic, with its account; one query."""
        rows = self.filter(topic__in=set(topics)).select_related("account")
        return {row.topic: row for row in rows}

    def newest_of_each(
        self, messages: NotifyMessageRecordQuerySet, limit: int
    ) -> models.QuerySet[Subscription, Any]:
        """Primary keys of the newest ``limit`` of ``messages`` of each subscription.

        An index gives them without a look at the rest, whatever the planner's statistics
        expect; a join could read every message of all users.
        """
        own = messages.filter(subscription=models.OuterRef("pk"))
        newest = own.order_by("-published_at", "-pk").values("pk")[:limit]
        message = models.Func(
            ArraySubquery(newest),
            function="unnest",
            output_field=models.BigIntegerField(),
        )
        return self.annotate(message=message).values("message")


class Subscription(models.Model):
    """A ``NotifySubscription`` of one account. One row per notify topic."""

    class AddedBy(models.TextChoices):
        SUBSCRIBE = "subscribe", _("subscribed here (W1)")
        SYNC = "sync", _("came through Sync (Wx)")
        HISTORY = "history", _("rebuilt from History")
        SERVER = "server", _("listed by the Notify server")

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="subscriptions"
    )
    topic = models.CharField(max_length=64)
    relay_protocol = models.CharField(max_length=32, default="irn")
    metadata = models.JSONField(help_text="name, description, url, icons")
    scope = models.JSONField(help_text="{type: {description, enabled}}")
    expiry = models.BigIntegerField(help_text="seconds")
    # Which dapp: metadata["url"], normalized, for joins and look-ups.
    dapp_url = models.CharField(max_length=2048, db_index=True)
    # Empty until the dapp's did.json was read: a store entry does not contain it.
    dapp_authentication_did = models.CharField(max_length=64, blank=True)
    added_by = models.CharField(max_length=10, choices=AddedBy.choices)
    device = models.ForeignKey(
        Device,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="W1, when it is one of ours",
    )
    # Who last changed the types, and when: one of our devices, or (empty) another wallet
    # of the account. Shown on other devices that have the form open.
    changed_by = models.ForeignKey(
        Device,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
    )
    changed_at = models.DateTimeField(null=True, blank=True)
    # An update without an answer yet: {"scope": {type: {…}}, "rpcId", "identityDid",
    # "updateHash", "expiresAt", "device"}.
    pending_update = models.JSONField(null=True, blank=True)
    # Why the last update failed, until the next one is requested.
    update_reason = models.CharField(max_length=REASON_LENGTH, blank=True)
    last_iat = models.BigIntegerField(
        default=0, help_text="of the dapp's last notification, seconds"
    )
    # The Cast Server that listed it: a subscription that its list no longer has, ends.
    listed_by = models.ForeignKey(
        WatchedServer,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="subscriptions",
    )
    server_unread_count = models.PositiveIntegerField(
        "unread, as the server counted when we decided to ask which",
        null=True,
        blank=True,
        db_column="unread_told",
    )
    muted_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)
    delete_reason = models.CharField(max_length=REASON_LENGTH, blank=True)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "topic"], name="subscription_topic_is_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["topic"], name="subscription_by_topic"),
            models.Index(
                fields=["expiry"],
                name="subscription_by_expiry",
                condition=models.Q(deleted_at=None),
            ),
            models.Index(
                fields=["dapp_url"],
                name="subscription_without_dapp_key",
                condition=models.Q(dapp_authentication_did="", deleted_at=None),
            ),
            models.Index(
                fields=["deleted_at"],
                name="subscription_ended",
                condition=models.Q(deleted_at__isnull=False),
            ),
            models.Index(
                fields=["changed_by"],
                name="subscription_by_changer",
                condition=models.Q(changed_by__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.metadata.get('name') or self.dapp_url}"

    @property
    def dialect(self) -> Dialect:
        # Only servers of protocol v1 send lists.
        return V0 if self.listed_by_id is None else V1

    def is_expired(self, now: datetime) -> bool:
        return self.expiry <= now.timestamp()

    def with_key(self, sym_key: SymKey) -> NotifySubscription:
        """The spec's value: the row together with its key P from the keychain."""
        return NotifySubscription(
            topic=Topic(self.topic),
            account=AccountId.parse(self.account.address),
            metadata=Metadata.from_value(self.metadata),
            scope=ScopeMap.from_value(self.scope),
            expiry=self.expiry,
            sym_key=sym_key,
            relay_protocol=self.relay_protocol,
        )

    def mirror(self, value: NotifySubscription) -> None:
        """Mirror the spec's value, its key excepted."""
        self.topic = value.topic
        self.relay_protocol = value.relay_protocol
        self.metadata = value.metadata.to_value()
        self.scope = value.scope.to_value()
        self.expiry = value.expiry
        self.dapp_url = normalize_url(value.metadata.url)

    @property
    def effective_types(self) -> set[str]:
        """The types that are on, or that a pending update switches on."""
        scope = self.pending_update["scope"] if self.pending_update else self.scope
        return {name for name, setting in scope.items() if setting.get("enabled")}

    def expect(
        self, pending: PendingUpdate, *, expires_at: int, device: Device | None
    ) -> None:
        """Store an update that was sent, and the device that requested it."""
        self.pending_update = {
            "scope": pending.scope.to_value(),
            "rpcId": pending.request_id,
            "identityDid": pending.identity_did,
            # The dapp answers with the key that the request named.
            "dappDid": pending.dapp_did,
            "updateHash": pending.update_hash,
            "expiresAt": expires_at,
            "device": str(device.pk) if device else None,
        }

    def note_change(self, device: Device | None, at: datetime) -> None:
        """Record which device changes the types; None for another wallet."""
        self.changed_by = device
        self.changed_at = at

    @property
    def expected_update(self) -> PendingUpdate | None:
        kept = self.pending_update
        if not kept:
            return None
        return PendingUpdate(
            request_id=kept["rpcId"],
            identity_did=kept["identityDid"],
            dapp_did=kept.get("dappDid") or self.dapp_authentication_did,
            scope=ScopeMap.from_value(kept["scope"]),
            update_hash=kept["updateHash"],
        )


def normalize_url(dapp_url: str) -> str:
    """A dapp's URL as documents are stored under: other wallets may add a slash."""
    try:
        return str(AppUrl.parse(dapp_url))
    except RemoteProtocolError:
        return dapp_url


# What ``mirror`` sets; for bulk updates.
MIRRORED_FIELDS = ("relay_protocol", "metadata", "scope", "expiry", "dapp_url")


class NotifyMessageRecordQuerySet(models.QuerySet["NotifyMessageRecord"]):
    def kept(self) -> NotifyMessageRecordQuerySet:
        """Without deleted notifications, whose rows remain for a while."""
        return self.filter(deleted_at=None)

    def in_inbox(self) -> NotifyMessageRecordQuerySet:
        """Neither archived, snoozed nor deleted."""
        return self.filter(archived_at=None, snoozed_until=None, deleted_at=None)

    def unread(self) -> NotifyMessageRecordQuerySet:
        """What the Unread tab, the counts and the alerts are about."""
        return self.in_inbox().filter(read_at=None)

    def unread_on_server(self) -> NotifyMessageRecordQuerySet:
        """Unread here and, as far as we know, at a server of protocol v1."""
        return self.unread().filter(server_read_at=None).exclude(notification_id="")


class NotifyMessageRecord(models.Model):
    """A notification that arrived. Its read state is shared by all devices."""

    subscription = models.ForeignKey(
        Subscription, on_delete=models.CASCADE, related_name="messages", db_index=False
    )
    rpc_id = models.BigIntegerField(help_text="JSON-RPC id")
    # The id in protocol v1; empty from a v0 server.
    notification_id = models.CharField(max_length=256, blank=True)
    type = models.CharField(max_length=64)
    title = models.CharField(max_length=256)
    body = models.TextField()
    icon = models.TextField(blank=True)
    url = models.TextField(blank=True)
    message_auth = models.TextField(help_text="the did-jwt, as received")
    published_at = models.DateTimeField()
    received_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True, blank=True)
    read_by = models.ForeignKey(
        Device, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    # When we sent to the server, or received from it, that this was read. The protocol
    # cannot mark it as unread again, so that stays local.
    server_read_at = models.DateTimeField(
        null=True, blank=True, db_column="read_there_at"
    )
    archived_at = models.DateTimeField(null=True, blank=True)
    # When it returns to the inbox as unread; empty while it is not snoozed.
    snoozed_until = models.DateTimeField(null=True, blank=True)
    # The row of a deleted notification remains as a tombstone: a replay of History finds
    # it and stores nothing. ``prune_deleted`` empties it and removes it at last.
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = NotifyMessageRecordQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subscription", "rpc_id"], name="notify_message_id_is_unique"
            ),
            # Every did-jwt begins with the base64url of {".
            models.UniqueConstraint(
                "subscription",
                MD5("message_auth"),
                condition=models.Q(message_auth__startswith="ey"),
                name="notify_message_token_is_unique",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["subscription", "-published_at", "-id"],
                name="notify_message_newest_first",
            ),
            # One for each tab of the inbox. A page costs the same however much is in the
            # other tabs: somebody may have read, or archived, all but a few.
            models.Index(
                fields=["subscription", "-published_at", "-id"],
                name="notify_message_unread",
                condition=models.Q(
                    read_at=None, archived_at=None, snoozed_until=None, deleted_at=None
                ),
            ),
            models.Index(
                fields=["subscription", "-published_at", "-id"],
                name="notify_message_in_inbox",
                condition=models.Q(
                    archived_at=None, snoozed_until=None, deleted_at=None
                ),
            ),
            models.Index(
                fields=["subscription", "-published_at", "-id"],
                name="notify_message_archived",
                condition=models.Q(archived_at__isnull=False, deleted_at=None),
            ),
            models.Index(
                fields=["subscription", "-published_at", "-id"],
                name="notify_message_in_snoozed",
                condition=models.Q(
                    snoozed_until__isnull=False, archived_at=None, deleted_at=None
                ),
            ),
            models.Index(
                fields=["snoozed_until"],
                name="notify_message_snoozed",
                condition=models.Q(snoozed_until__isnull=False),
            ),
            models.Index(
                fields=["deleted_at"],
                name="notify_message_deleted",
                condition=models.Q(deleted_at__isnull=False),
            ),
            # Deleted within the last hour, and not emptied yet.
            models.Index(
                fields=["deleted_at"],
                name="notify_message_to_empty",
                condition=models.Q(deleted_at__isnull=False)
                & ~models.Q(message_auth=""),
            ),
            models.Index(
                fields=["read_by"],
                name="notify_message_by_reader",
                condition=models.Q(read_by__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_unread(self) -> bool:
        """Whether ``unread()`` contains it."""
        return (
            self.read_at is None
            and self.archived_at is None
            and self.snoozed_until is None
            and self.deleted_at is None
        )
