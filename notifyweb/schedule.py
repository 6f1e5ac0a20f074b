"""Every periodic task of the system.

Tasks are named, not imported. Each of them looks for due rows in the database, so an extra
run does no harm and a missed run is made up for by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
CANARY = "notifyweb.canary"
OUTBOUND_CANARY = "notifyweb.outbound_canary"
# Started with each worker, to take over the leased work of one that was killed.
AT_START = (
    CANARY,
    OUTBOUND_CANARY,
    "alerts.send_pushes",
    "alerts.send_forwards",
    "castserver.deliver_due_webhooks",
    "messaging.sweep",
    "subscriptions.resolve_dapp",
    "syncstore.cold_start",
)
CANARY_S = 15


def _(text: str) -> str:
    """Marks a text for the catalogs. Django's own function needs the settings, which
    read this module."""
    return text


@dataclass(frozen=True, slots=True)
class Periodic:
    """``task`` every ``every_s`` seconds; ``what`` is its description in the admin."""

    task: str
    every_s: int
    what: str


PERIODIC = (
    Periodic(CANARY, CANARY_S, _("heartbeat of the workers for messages")),
    Periodic(OUTBOUND_CANARY, CANARY_S, _("heartbeat of the outbound workers")),
    Periodic("messaging.sweep", 30, _("handle relay messages whose wake-up was lost")),
    Periodic("messaging.prune", 15 * MINUTE, _("drop relay messages past their TTL")),
    Periodic("accounts.expire_devices", MINUTE, _("sign out expired devices")),
    Periodic(
        "accounts.prune", HOUR, _("drop old events and what sign-ins left behind")
    ),
    Periodic("identity.look_up_identities", MINUTE, _("ask other Keys Servers")),
    Periodic("identity.check_contracts", MINUTE, _("ask chains about signatures")),
    Periodic("identity.register_identity_keys", MINUTE, _("register identity keys")),
    Periodic(
        "identity.unregister_identity_keys", MINUTE, _("unregister identity keys")
    ),
    Periodic("identity.prune", 10 * MINUTE, _("drop expired identities")),
    Periodic(
        "history.prune_messages",
        HOUR,
        _("drop archived messages past their retention"),
    ),
    Periodic(
        "subscriptions.expire_attempts", 30, _("end subscribe attempts unanswered")
    ),
    Periodic(
        "subscriptions.expire_subscriptions",
        MINUTE,
        _("end subscriptions past expiry"),
    ),
    Periodic(
        "subscriptions.renew_subscriptions",
        10 * MINUTE,
        _("renew before the expiry"),
    ),
    Periodic(
        "subscriptions.resolve_dapp", 30, _("read documents for subscribe attempts")
    ),
    Periodic("subscriptions.learn_dapps", 2 * MINUTE, _("read keys of synced dapps")),
    Periodic(
        "subscriptions.recheck_documents",
        10 * MINUTE,
        _("read did.json of dapps again"),
    ),
    Periodic(
        "subscriptions.check_domains",
        30,
        _("run domain checks whose wake-up was lost"),
    ),
    Periodic(
        "subscriptions.watch_accounts",
        MINUTE,
        _("ask the Cast Server for the subscriptions of accounts, daily"),
    ),
    Periodic(
        "subscriptions.enrich_subscriptions",
        30,
        _("complete subscriptions listed by the Cast Server"),
    ),
    Periodic("subscriptions.ask_reads", 30, _("fetch read state of other clients")),
    Periodic(
        "subscriptions.replay_history",
        MINUTE,
        _("read older notifications from History"),
    ),
    Periodic(
        "subscriptions.prune_deleted",
        HOUR,
        _("empty notifications that were deleted"),
    ),
    Periodic("subscriptions.fetch_icons", MINUTE, _("fetch icons of dapps")),
    Periodic("subscriptions.prune_icons", DAY, _("drop icons that nothing refers to")),
    Periodic(
        "subscriptions.wake_snoozed",
        15,
        _("return snoozed notifications to the inbox"),
    ),
    Periodic(
        "syncstore.cold_start", MINUTE, _("continue to rebuild stores from History")
    ),
    Periodic(
        "syncstore.check_stores",
        MINUTE,
        _("compare sync stores with the archive on request"),
    ),
    Periodic(
        "syncstore.prune_updates", 24 * HOUR, _("shorten the log of sync updates")
    ),
    Periodic("castserver.deliver_due_webhooks", 30, _("send webhooks that are due")),
    Periodic(
        "castserver.prove_addresses",
        30,
        _("check that dapps' domains serve their keys"),
    ),
    Periodic(
        "castserver.send_broadcasts", 15, _("send what is scheduled or unfinished")
    ),
    Periodic(
        "castserver.send_deliveries", 30, _("build messages of large notifications")
    ),
    Periodic(
        "castserver.announce_changes",
        30,
        _("notify watchers of changes not yet announced"),
    ),
    Periodic("castserver.expire_subscribers", MINUTE, _("end subscribers past expiry")),
    Periodic(
        "dashboard.prune_submissions",
        MINUTE,
        _("clear secrets that forms have shown"),
    ),
    Periodic("alerts.send_pushes", 30, _("send pushes that are due")),
    Periodic("alerts.send_forwards", 30, _("forward notifications that are due")),
    Periodic("alerts.send_digests", MINUTE, _("send mails that are due")),
    Periodic(
        "alerts.send_domain_mails",
        5 * MINUTE,
        _("mail owners whose domains serve other files"),
    ),
    Periodic("alerts.prune", HOUR, _("drop alerts and mutes that are over")),
    Periodic("portability.prune", MINUTE, _("drop uploads that were not confirmed")),
    Periodic(
        "castserver.count_subscribers", HOUR, _("count subscribers for the charts")
    ),
    Periodic("castserver.prune", HOUR, _("drop old answers, watchers and calls")),
)


def beat_schedule() -> dict[str, dict[str, object]]:
    """``PERIODIC`` in the form of ``CELERY_BEAT_SCHEDULE``."""
    return {
        entry.task: {
            "task": entry.task,
            "schedule": float(entry.every_s),
            "description": entry.what,
        }
        for entry in PERIODIC
    }
