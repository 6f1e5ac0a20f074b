"""Which worker runs which task. Every task of ours is in this table.

Two worker programs. ``worker`` handles protocol messages in processes of its own and
never waits for the network. ``outbound`` waits for other servers, in threads, so that a
slow host costs a thread and not a message.

A worker takes tasks from its queues in alphabetical order (``queue_order_strategy``). The
canary comes first: a missing heartbeat means a stuck worker, not a long queue.
"""

from __future__ import annotations

from typing import Final

from kombu import Queue

# --- worker: PostgreSQL and Redis only ---
CANARY: Final = "canary"
MESSAGES: Final = "messages"
SWEEPS: Final = "sweeps"
WORKER_QUEUES: Final = (CANARY, MESSAGES, SWEEPS)

# --- outbound: other servers, and long deletes ---
OUTBOUND_CANARY: Final = "canary-outbound"
HOUSEKEEPING: Final = "housekeeping"
OUTBOUND: Final = "outbound"
OUTBOUND_QUEUES: Final = (OUTBOUND_CANARY, HOUSEKEEPING, OUTBOUND)

TASKS_OF: Final = {
    CANARY: ("notifyweb.canary",),
    MESSAGES: (
        "castserver.announce_changes",
        "messaging.handle_inbox",
        "messaging.sweep",
        "subscriptions.ask_reads",
    ),
    SWEEPS: (
        "accounts.expire_devices",
        "castserver.expire_subscribers",
        "castserver.send_broadcasts",
        "castserver.send_deliveries",
        "subscriptions.expire_attempts",
        "subscriptions.expire_subscriptions",
        "subscriptions.renew_subscriptions",
        "subscriptions.wake_snoozed",
    ),
    OUTBOUND_CANARY: ("notifyweb.outbound_canary",),
    HOUSEKEEPING: (
        "accounts.prune",
        "alerts.prune",
        "castserver.count_subscribers",
        "castserver.prune",
        "dashboard.prune_submissions",
        "history.prune_messages",
        "identity.prune",
        "messaging.prune",
        "portability.prune",
        "subscriptions.prune_deleted",
        "subscriptions.prune_icons",
        "syncstore.prune_updates",
    ),
    OUTBOUND: (
        "alerts.send_digests",
        "alerts.send_domain_mails",
        "alerts.send_forwards",
        "alerts.send_pushes",
        "castserver.deliver_due_webhooks",
        "castserver.prove_addresses",
        "identity.check_contracts",
        "identity.look_up_identities",
        "identity.register_identity_keys",
        "identity.unregister_identity_keys",
        "subscriptions.enrich_subscriptions",
        "subscriptions.fetch_icons",
        "subscriptions.check_domains",
        "subscriptions.learn_dapps",
        "subscriptions.recheck_documents",
        "subscriptions.replay_history",
        "subscriptions.resolve_dapp",
        "subscriptions.watch_accounts",
        "syncstore.check_stores",
        "syncstore.cold_start",
    ),
}
QUEUES: Final = tuple(TASKS_OF)
ROUTES: Final = {
    task: {"queue": queue} for queue, tasks in TASKS_OF.items() for task in tasks
}


def broker_queues() -> list[Queue]:
    return [Queue(name, routing_key=name) for name in QUEUES]
