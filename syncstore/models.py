"""Stores of the Sync API, their entries, the log of updates, and each device's position.

Spec: WalletConnect specs, clients/core/sync. A deleted entry keeps the id of its last update
(a tombstone), so that an older set that arrives later has no effect. Values contain symmetric
keys and are sealed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from accounts.models import Account, Device
from common.work_queue import WorkItem
from syncstore.names import derivation_name
from walletconnect.sync.store import MAX_KEY_LENGTH

if TYPE_CHECKING:
    from datetime import datetime

KEY_LENGTH = MAX_KEY_LENGTH
REASON_LENGTH = 200


class Store(models.Model):
    """One shared key-value store of one account; its key is in the keychain, by topic."""

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="stores"
    )
    name = models.CharField(max_length=128)
    topic = models.CharField(max_length=64, unique=True)
    # Keyed digest of the sync signature. It detects wallets with signatures that differ
    # each time, which must not overwrite the store that their other devices share.
    signature_fingerprint = models.CharField(max_length=64, blank=True, editable=False)
    # A new epoch has other keys, for when those of the former one may have leaked.
    epoch = models.PositiveSmallIntegerField(default=1)
    # Highest JSON-RPC id seen; local writes take a higher one.
    last_id = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "name"], name="store_name_is_unique_per_account"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def derivation_name(self) -> str:
        return derivation_name(self.name, self.epoch)


class StoreEntry(models.Model):
    """The current value of a key, or its tombstone."""

    # Without an index: the unique constraint begins with the store.
    store = models.ForeignKey(
        Store, on_delete=models.CASCADE, related_name="entries", db_index=False
    )
    key = models.CharField(max_length=KEY_LENGTH)
    last_id = models.BigIntegerField()
    is_deleted = models.BooleanField(default=False)
    sealed_value = models.BinaryField(default=b"", editable=False)
    updated_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["store", "key"], name="store_entry_key_is_unique"
            )
        ]
        verbose_name_plural = "store entries"

    def __str__(self) -> str:
        return f"{self.key} @{self.last_id}"

    @property
    def context(self) -> tuple[str, str, str, str]:
        """The value is sealed for this key of this store and opens nowhere else."""
        return value_context(self.store, self.key)


def value_context(store: Store, key: str) -> tuple[str, str, str, str]:
    return (
        StoreEntry._meta.db_table,
        "sealed_value",
        f"{store.topic} {key}",
        str(store.account_id),
    )


class StoreUpdate(models.Model):
    """Append-only log of every remote and local update, with its outcome."""

    class Outcome(models.TextChoices):
        APPLIED = "applied"
        STALE = "stale"
        DUPLICATE = "duplicate"
        REFUSED = "refused"

    class Source(models.TextChoices):
        DEVICE = "device"
        RELAY = "relay"
        HISTORY = "history"

    class Action(models.TextChoices):
        SET = "set"
        DELETE = "delete"

    store = models.ForeignKey(
        Store, on_delete=models.CASCADE, related_name="updates", db_index=False
    )
    key = models.CharField(max_length=KEY_LENGTH)
    action = models.CharField(max_length=8, choices=Action.choices)
    rpc_id = models.BigIntegerField()
    # The entry's id before this update, which explains the outcome.
    previous_id = models.BigIntegerField(null=True)
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    source = models.CharField(max_length=8, choices=Source.choices)
    device = models.ForeignKey(
        Device,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
    )
    size = models.PositiveIntegerField(default=0, help_text="bytes of the envelope")
    published_at = models.BigIntegerField(null=True, help_text="milliseconds")
    at = models.DateTimeField()
    reason = models.CharField("why refused", max_length=REASON_LENGTH, blank=True)
    # A description by the app that owns the store.
    note = models.CharField(max_length=REASON_LENGTH, blank=True)
    # Who made it, if the value states that; stated by the peer, not proven.
    author = models.CharField(max_length=REASON_LENGTH, blank=True)
    # What it changes in the value, with secrets masked (``syncstore.diff``).
    changes = models.JSONField(default=list)
    # The message of a local write: when the relay had it is in ``OutboxMessage.sent_at``.
    outbox_id = models.BigIntegerField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["store", "-id"], name="store_update_newest_first"),
            # Updates from elsewhere, nearly all of them, have no device.
            models.Index(
                fields=["device"],
                name="store_update_by_device",
                condition=models.Q(device__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.key} @{self.rpc_id}: {self.outcome}"


class DeviceCursor(models.Model):
    """A device's position in a store: the last StoreUpdate that it has."""

    store = models.ForeignKey(
        Store, on_delete=models.CASCADE, related_name="cursors", db_index=False
    )
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="cursors")
    update_pk = models.BigIntegerField(default=0)
    moved_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["store", "device"], name="device_cursor_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.device_id} at {self.update_pk}"


class ColdStart(WorkItem):
    """The replay of an account's stores from History, when the account is new here."""

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    retry_changes: ClassVar = {"state": "running", "finished_at": None}

    account = models.OneToOneField(
        Account, on_delete=models.CASCADE, related_name="cold_start"
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.RUNNING)
    # Messages that were fetched so far, and how many of them were applied.
    found = models.PositiveIntegerField(default=0)
    replayed = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"cold start of {self.account_id}: {self.state}"


class DeviceLink(models.Model):
    """How ``device`` is to join the account's store without a signature.

    By a one-time code that another device confirms, or by an X25519 key to which another
    server seals the keys of the store.
    """

    class Purpose(models.TextChoices):
        CODE = "code"
        KEY = "key"

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="+")
    purpose = models.CharField(
        max_length=4, choices=Purpose.choices, default=Purpose.CODE
    )
    # Of the code, or of the public key.
    code_digest = models.CharField(max_length=64, unique=True, editable=False)
    # The code, for the page of the new device, which a reload must not change; or the
    # private key.
    sealed_code = models.BinaryField(default=b"", editable=False)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True, blank=True)
    confirmed_by = models.ForeignKey(
        Device, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    def __str__(self) -> str:
        return f"link of {self.device_id}"

    @property
    def context(self) -> tuple[str, str, str, str]:
        """Binds the sealed code to this device and code."""
        return (
            DeviceLink._meta.db_table,
            "sealed_code",
            self.code_digest,
            str(self.device_id),
        )

    def is_open(self, now: datetime) -> bool:
        return self.used_at is None and now < self.expires_at


class StoreCheck(WorkItem):
    """The last comparison of an account's stores with the archive, and its result."""

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    retry_changes: ClassVar = {"state": "running", "finished_at": None}

    account = models.OneToOneField(
        Account, on_delete=models.CASCADE, related_name="store_check"
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.RUNNING)
    requested_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    # One report per store, as ``syncstore.services.verify`` writes it; ids and keys only.
    reports = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"check of {self.account_id}: {self.state}"
