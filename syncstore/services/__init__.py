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
    fingerprint_of,
    is_enabled,
    message_to_sign,
    restore_stores,
    start_new_group,
)
from syncstore.services.links import (
    LinkExpired,
    LinkNotSyncing,
    LinkOwnDevice,
    LinkRefused,
    LinkTooMany,
    LinkUnknown,
    LinkUsed,
    NothingToLink,
    begin_link,
    code_of,
    confirm_link,
    find_link,
    newest_link,
    spelled,
)
from syncstore.services.receive import receive_updates
from syncstore.services.upkeep import prune_updates
from syncstore.services.verify import (
    CannotVerify,
    Difference,
    StoreReport,
    check_due,
    devices_behind,
    request_check,
    verify_account,
    verify_store,
)
from syncstore.services.write import (
    StoreKeyMissing,
    known_keys,
    present_values,
    store_delete,
    store_race,
    store_set,
)

__all__ = [
    "Applied",
    "CannotVerify",
    "Difference",
    "LinkExpired",
    "LinkNotSyncing",
    "LinkOwnDevice",
    "LinkRefused",
    "LinkTooMany",
    "LinkUnknown",
    "LinkUsed",
    "NotYourAccount",
    "NothingToLink",
    "SignatureDiffers",
    "StoreKeyMissing",
    "StoreReport",
    "SyncRefused",
    "apply_updates",
    "archived_pages",
    "begin_link",
    "check_due",
    "code_of",
    "cold_start",
    "confirm_link",
    "devices_behind",
    "enable_sync",
    "find_link",
    "fingerprint_of",
    "is_enabled",
    "known_keys",
    "lock_stores",
    "message_to_sign",
    "newest_link",
    "present_values",
    "prune_updates",
    "receive_updates",
    "request_check",
    "restart_cold_start",
    "restore_stores",
    "spelled",
    "start_new_group",
    "store_delete",
    "store_race",
    "store_set",
    "verify_account",
    "verify_store",
]
