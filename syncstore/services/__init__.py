"""What syncstore offers: turning Sync on, local writes, updates that arrive."""

from __future__ import annotations

from syncstore.services.apply import Applied, apply_updates, lock_stores
from syncstore.services.enable import (
    NotYourAccount,
    SignatureDiffers,
    SyncRefused,
    enable_sync,
    is_enabled,
    message_to_sign,
)
from syncstore.services.receive import receive_updates
from syncstore.services.write import StoreKeyMissing, store_delete, store_set

__all__ = [
    "Applied",
    "NotYourAccount",
    "SignatureDiffers",
    "StoreKeyMissing",
    "SyncRefused",
    "apply_updates",
    "enable_sync",
    "is_enabled",
    "lock_stores",
    "message_to_sign",
    "receive_updates",
    "store_delete",
    "store_set",
]
