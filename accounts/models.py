"""Users, their accounts, devices and events, and the audit log.

A *user* has many *accounts* (CAIP-10, each proven by a signature) and many *devices*
(each browser session is one: the protocol's W1 or Wx). ``AccountEvent`` is an append-only
list, numbered per user, of the rows that changed.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Length

from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId

if TYPE_CHECKING:
    from datetime import datetime


class User(AbstractUser):
    """A person. Wallet users have no usable password; staff may have one."""

    # The number of the user's newest AccountEvent; raised under a row lock, so that
    # numbers become visible in order and a browser can see a gap.
    event_sequence = models.BigIntegerField(default=0, editable=False)
    # A new generation makes every browser cursor invalid (restored backup).
    event_generation = models.UUIDField(default=uuid.uuid4, editable=False)

    def __str__(self) -> str:
        return self.username


class AccountQuerySet(models.QuerySet["Account"]):
    def of_user(self, user_id: int) -> AccountQuerySet:
        return self.filter(user_id=user_id)

    def at(self, address: str) -> AccountQuerySet:
        """The account of this CAIP-10 text, whatever chain and case it is written with.

        Databases of the first releases may have two rows for one ``eip155`` address. Then
        the row of exactly this chain comes first, and the other one is for all chains.
        """
        keys = {account_key(address), address.lower()}
        return self.filter(key__in=keys).order_by(Length("key").desc())

    def locked(self, *, skip: bool = False) -> AccountQuerySet:
        """With a lock on each, to be taken before their stores and all other rows of them.

        Serializes changes of an account, also of rows that do not exist yet. Rows that
        refer to the account can be inserted meanwhile. ``skip`` leaves out accounts that
        are locked already.
        """
        return self.select_for_update(no_key=True, skip_locked=skip).order_by("pk")


def account_key(address: str) -> str:
    """``AccountId.key`` of a text; a text that is not an account is its own key."""
    try:
        return AccountId.parse(address).key
    except RemoteProtocolError:
        return address


class Account(models.Model):
    """A blockchain account in CAIP-10 form, in the case that its wallet uses."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="accounts")
    address = models.CharField(
        "CAIP-10 account", max_length=168, help_text="eip155:1:0x… in EIP-55 form"
    )
    # The lookup key: for eip155 the address alone.
    key = models.CharField(max_length=168, unique=True, editable=False)
    label = models.CharField(max_length=64, blank=True)
    is_demo = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    objects = AccountQuerySet.as_manager()

    def __str__(self) -> str:
        return self.address

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.key = self.key or account_key(self.address)
        super().save(*args, **kwargs)

    @property
    def chain_address(self) -> str:
        """The part after the chain: ``0x…`` for eip155."""
        return self.address.rpartition(":")[2]

    @property
    def short(self) -> str:
        """``0x51…45C6``, for people."""
        text = self.chain_address
        return text if len(text) <= 12 else f"{text[:4]}…{text[-4:]}"


class DeviceQuerySet(models.QuerySet["Device"]):
    def active(self) -> DeviceQuerySet:
        return self.filter(revoked_at=None)


class Device(models.Model):
    """One browser session of a user: a client of the protocol (W1 or Wx)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="devices")
    name = models.CharField(max_length=64)
    user_agent = models.CharField(max_length=256, blank=True)
    # The network of its first request, shortened: no single person's address is kept.
    first_network = models.CharField(max_length=45, blank=True)
    # Which Django session is this device; a digest, since the key itself is a credential.
    # Empty until the session is bound, and again when the device is revoked.
    session_digest = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField()
    # When a wallet last proved itself here: the session's age counts from it, and
    # dangerous acts want it to be fresh.
    proved_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = DeviceQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["session_digest"],
                condition=~models.Q(session_digest=""),
                name="device_of_a_session_is_unique",
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["last_seen_at"],
                name="device_active_by_last_seen",
                condition=models.Q(revoked_at=None),
            )
        ]

    def __str__(self) -> str:
        return self.name

    def is_active(self) -> bool:
        return self.revoked_at is None

    @property
    def known_as(self) -> str:
        """The name for logs: that of an ended device may be in use again."""
        return self.name if self.is_active() else f"{self.name} (signed out)"


class SignInRequest(models.Model):
    """A message for a wallet to sign: used once, within ten minutes, by one browser."""

    # The user who was signed in when it was created: then it adds an account to that user.
    user = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    nonce = models.CharField(max_length=64, unique=True)
    session_digest = models.CharField(max_length=64)
    address = models.CharField(max_length=168)
    message = models.TextField()
    # did:key of the identity key that the signature will authorise.
    identity_did = models.CharField(max_length=64)
    payload = models.JSONField(help_text="the CACAO payload the message was made from")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"sign-in of {self.address}"

    def is_open(self, now: datetime) -> bool:
        return self.used_at is None and now < self.expires_at


class EventKind(models.TextChoices):
    """What happened. docs/channels.md lists when each kind is recorded."""

    SUBSCRIPTION = "notify.subscription"
    MESSAGE = "notify.message"
    UPDATE = "notify.update"
    DELETE = "notify.delete"
    READ = "read.changed"
    SYNC = "sync.update"
    STEP = "subscribe.step"
    DOMAIN_CHECK = "domain.check"
    DEVICE = "device.changed"
    ACCOUNT = "account.changed"


class AccountEvent(models.Model):
    """A change that a user should see, numbered per user without gaps."""

    # Without an index: the unique constraint begins with the user.
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="events", db_index=False
    )
    sequence = models.BigIntegerField()
    account = models.ForeignKey(
        Account, null=True, on_delete=models.CASCADE, related_name="events"
    )
    # An ``EventKind``, without choices: a new kind needs no migration.
    kind = models.CharField(max_length=32)
    # Names the row that changed ("subscriptions.subscription:17"), never its content.
    subject = models.CharField(max_length=128)
    # Ids ascend with it, so old events are found without an index (``common.retention``).
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "sequence"], name="account_event_sequence_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} #{self.sequence}"


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def update(self, **_: object) -> int:
        raise TypeError("the audit log is append-only")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError("the audit log is append-only")


class AuditEntry(models.Model):
    """One action: who did what, and on which device. Append-only, no secrets.

    The database refuses changes as well (migration 0002), except that a removed user,
    device or account leaves an empty reference behind.
    """

    at = models.DateTimeField(db_index=True)
    action = models.CharField(max_length=64, db_index=True)
    actor = models.CharField(max_length=168, blank=True)
    user = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    device = models.ForeignKey(
        Device, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    account = models.ForeignKey(
        Account, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    subject = models.CharField(max_length=256, blank=True)
    detail = models.CharField(max_length=512, blank=True)

    objects = AuditQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


class AccountTombstone(models.Model):
    """What remains of a removed account: a keyed hash of its CAIP-10 text.

    After a restore it identifies accounts that were removed since the backup.
    """

    digest = models.CharField(max_length=64, unique=True)
    removed_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.digest
