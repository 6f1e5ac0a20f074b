"""Enabling Sync, local writes, updates of other devices, and the replay from History."""

from __future__ import annotations

from syncstore.services.apply import Applied, apply_updates, lock_stores
from syncstore.services.archive import archived_pages
from syncstore.services.cold_start import (
    cold_start,
    restart_cold_start,
)
from syncstore.services.enable import (
    NotYourAccount,
    SignatureDiffers,
    SyncRefused,
    enable_sync,
    is_enabled,
    message_to_sign,
    restore_store,
)
from syncstore.services.receive import receive_updates
from syncstore.services.upkeep import prune_updates
from syncstore.services.write import (
    StoreKeyMissing,
    known_keys,
    present_values,
    store_delete,
    store_set,
)

__all__ = [
    "Applied",
    "NotYourAccount",
    "SignatureDiffers",
    "StoreKeyMissing",
    "SyncRefused",
    "apply_updates",
    "archived_pages",
    "cold_start",
    "enable_sync",
    "is_enabled",
    "known_keys",
    "lock_stores",
    "message_to_sign",
    "present_values",
    "prune_updates",
    "receive_updates",
    "restart_cold_start",
    "restore_store",
    "store_delete",
    "store_set",
]
