"""Enabling Sync, local writes, updates of other devices, and the replay from History."""

from __future__ import annotations

from syncstore.services.apply import lock_stores
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
    start_epoch,
    start_new_group,
)
from syncstore.services.key_transfer import (
    NotAKeyText,
    OtherAccount,
    begin_key_request,
    give_keys,
    read_key_request,
    request_text,
    take_key_answer,
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
    format_code,
    newest_link,
)
from syncstore.services.receive import receive_updates
from syncstore.services.upkeep import prune_updates
from syncstore.services.verify import (
    CannotVerify,
    StoreReport,
    check_due,
    devices_behind,
    request_check,
    verify_account,
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
    "CannotVerify",
    "LinkExpired",
    "LinkNotSyncing",
    "LinkOwnDevice",
    "LinkRefused",
    "LinkTooMany",
    "LinkUnknown",
    "LinkUsed",
    "NotAKeyText",
    "NotYourAccount",
    "NothingToLink",
    "OtherAccount",
    "SignatureDiffers",
    "StoreKeyMissing",
    "StoreReport",
    "SyncRefused",
    "archived_pages",
    "begin_key_request",
    "begin_link",
    "check_due",
    "code_of",
    "cold_start",
    "confirm_link",
    "devices_behind",
    "enable_sync",
    "find_link",
    "fingerprint_of",
    "format_code",
    "give_keys",
    "is_enabled",
    "known_keys",
    "lock_stores",
    "message_to_sign",
    "newest_link",
    "present_values",
    "prune_updates",
    "read_key_request",
    "receive_updates",
    "request_check",
    "request_text",
    "restart_cold_start",
    "restore_stores",
    "start_epoch",
    "start_new_group",
    "store_delete",
    "store_race",
    "store_set",
    "take_key_answer",
    "verify_account",
]
