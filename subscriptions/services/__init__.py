"""The wallet side's services: the verbs of the spec's client API for pages and commands,
and entry points for handlers and tasks. Refusals are in ``subscriptions.services.errors``.
"""

from __future__ import annotations

from subscriptions.services.blocks import (
    apply_blocks,
    block,
    preference_events,
    unblock,
)
from subscriptions.services.dapps.directory import learn_dapps, recheck_documents
from subscriptions.services.dapps.documents import accept_changed_keys, look_up_dapp
from subscriptions.services.dapps.domain_checks import run_checks, start_check
from subscriptions.services.dapps.enrichment import enrich_subscriptions
from subscriptions.services.dapps.icons import (
    WantedIcon,
    fetch_icons,
    picture_of,
    prune_icons,
    want_icons,
)
from subscriptions.services.deletes import (
    delete_subscription,
    expire_subscriptions,
    receive_deletes,
    resolve_signers,
    unsubscribe_before_removal,
)
from subscriptions.services.epochs import start_new_epoch
from subscriptions.services.errors import (
    AlreadySubscribed,
    DappUnusable,
    NotYours,
    SubscriptionRefused,
    TooMany,
    UnknownTypes,
)
from subscriptions.services.importing import (
    NotificationCopy,
    Outcome,
    SubscriptionCopy,
    announce_restored,
    restore_notifications,
    restore_subscriptions,
)
from subscriptions.services.messages.history import replay_due
from subscriptions.services.messages.messages import receive_messages
from subscriptions.services.messages.read_state import (
    archive,
    delete,
    mark_read,
    mark_unread,
    prune_deleted,
    restore,
    snooze,
    unarchive,
    unsnooze,
    wake_snoozed,
)
from subscriptions.services.messages.unread import (
    unread_of_subscriptions,
    unread_of_users,
)
from subscriptions.services.server.remote_reads import ask_reads, receive_pages
from subscriptions.services.server.watch import (
    receive_lists,
    watch_accounts,
    watch_soon,
)
from subscriptions.services.subscribe.adoption import adopt, announce_missing
from subscriptions.services.subscribe.attempts import expire_attempts
from subscriptions.services.subscribe.settle import settle_attempts
from subscriptions.services.subscribe.subscribe import resolve_due, subscribe
from subscriptions.services.subscribe.topic_steps import (
    RECORD_TOPIC_STEP,
    record_topic_steps,
)
from subscriptions.services.updates import (
    expire_updates,
    renew_subscriptions,
    settle_updates,
    update,
)

__all__ = [
    "RECORD_TOPIC_STEP",
    "AlreadySubscribed",
    "DappUnusable",
    "NotYours",
    "NotificationCopy",
    "Outcome",
    "SubscriptionCopy",
    "SubscriptionRefused",
    "TooMany",
    "UnknownTypes",
    "WantedIcon",
    "accept_changed_keys",
    "adopt",
    "announce_missing",
    "announce_restored",
    "apply_blocks",
    "archive",
    "ask_reads",
    "block",
    "delete",
    "delete_subscription",
    "enrich_subscriptions",
    "expire_attempts",
    "expire_subscriptions",
    "expire_updates",
    "fetch_icons",
    "learn_dapps",
    "look_up_dapp",
    "mark_read",
    "mark_unread",
    "picture_of",
    "preference_events",
    "prune_deleted",
    "prune_icons",
    "receive_deletes",
    "receive_lists",
    "receive_messages",
    "receive_pages",
    "recheck_documents",
    "record_topic_steps",
    "renew_subscriptions",
    "replay_due",
    "resolve_due",
    "resolve_signers",
    "restore",
    "restore_notifications",
    "restore_subscriptions",
    "run_checks",
    "settle_attempts",
    "settle_updates",
    "snooze",
    "start_check",
    "start_new_epoch",
    "subscribe",
    "unarchive",
    "unblock",
    "unread_of_subscriptions",
    "unread_of_users",
    "unsnooze",
    "unsubscribe_before_removal",
    "update",
    "wake_snoozed",
    "want_icons",
    "watch_accounts",
    "watch_soon",
]
