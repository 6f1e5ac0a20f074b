"""What happens by the clock: every periodic task of the system, in one place.

Tasks are named, not imported. Each of them looks for due rows in the database, so that
a run too many does no harm and a run too few is made up for by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
CANARY = "notifyweb.canary"
OUTBOUND_CANARY = "notifyweb.outbound_canary"
# What a worker looks for when it starts: the work of one that died, which had it leased.
AT_START = (
    CANARY,
    OUTBOUND_CANARY,
    "castserver.deliver_due_webhooks",
    "messaging.sweep",
    "subscriptions.resolve_dapp",
    "syncstore.cold_start",
)
CANARY_S = 15


@dataclass(frozen=True, slots=True)
class Periodic:
    """``task`` every ``every_s`` seconds; ``what`` is said in the admin pages."""

    task: str
    every_s: int
    what: str


PERIODIC = (
    Periodic(CANARY, CANARY_S, "prove that the workers for messages take up tasks"),
    Periodic(OUTBOUND_CANARY, CANARY_S, "the same for the outbound workers"),
    Periodic("messaging.sweep", 30, "find relay messages that no wake-up announced"),
    Periodic("messaging.prune", 15 * MINUTE, "drop relay messages past their TTL"),
    Periodic("accounts.expire_devices", MINUTE, "sign out devices past their time"),
    Periodic("accounts.prune", DAY, "drop what sign-ins and removals left behind"),
    Periodic("identity.look_up_identities", MINUTE, "ask other Keys Servers"),
    Periodic("identity.register_identity_keys", MINUTE, "register identity keys"),
    Periodic("identity.unregister_identity_keys", MINUTE, "unregister identity keys"),
    Periodic("identity.prune", 10 * MINUTE, "forget resolved identities past use"),
    Periodic("history.prune_messages", HOUR, "drop archived messages past their time"),
    Periodic("subscriptions.expire_attempts", 30, "end subscribe attempts unanswered"),
    Periodic(
        "subscriptions.expire_subscriptions", MINUTE, "end subscriptions past expiry"
    ),
    Periodic(
        "subscriptions.renew_subscriptions", 10 * MINUTE, "renew before the expiry"
    ),
    Periodic("subscriptions.resolve_dapp", 30, "read what subscribe attempts wait for"),
    Periodic("subscriptions.learn_dapps", 2 * MINUTE, "read keys of synced dapps"),
    Periodic(
        "subscriptions.recheck_documents", 10 * MINUTE, "read did.json of dapps again"
    ),
    Periodic("subscriptions.check_domains", 30, "check domains that no task took"),
    Periodic(
        "subscriptions.watch_accounts",
        MINUTE,
        "ask the Cast Server for the subscriptions of accounts, daily",
    ),
    Periodic(
        "subscriptions.enrich_subscriptions",
        30,
        "complete what the Cast Server has listed",
    ),
    Periodic("subscriptions.ask_reads", 30, "ask what other clients have read"),
    Periodic(
        "subscriptions.replay_history", MINUTE, "read older notifications from History"
    ),
    Periodic("syncstore.cold_start", MINUTE, "go on rebuilding stores from History"),
    Periodic("syncstore.prune_updates", 24 * HOUR, "shorten the log of sync updates"),
    Periodic("castserver.deliver_due_webhooks", 30, "send webhooks that are due"),
    Periodic("castserver.send_deliveries", 30, "build messages of large notifications"),
    Periodic("castserver.announce_changes", 30, "tell watchers what no task told"),
    Periodic("castserver.expire_subscribers", MINUTE, "end subscribers past expiry"),
    Periodic(
        "dashboard.prune_submissions", MINUTE, "clear secrets that forms have shown"
    ),
    Periodic("castserver.prune", HOUR, "drop old answers, watchers and calls"),
)


def beat_schedule() -> dict[str, dict[str, object]]:
    """The same for Celery beat."""
    return {
        entry.task: {
            "task": entry.task,
            "schedule": float(entry.every_s),
            # A run that waited longer than its own interval has a successor.
            "options": {"expires": max(entry.every_s, CANARY_S)},
        }
        for entry in PERIODIC
    }
