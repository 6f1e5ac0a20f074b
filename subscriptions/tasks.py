"""Tasks of the wallet side. Due work is in the database, so tasks take no arguments, and
one that is lost, late or repeated changes nothing.
"""

from __future__ import annotations

from celery import shared_task

from common.drain import drain_task, single_run
from common.wake import enqueue_on_commit
from subscriptions import services

REPLAY_LIMIT_S = 280


@drain_task("subscriptions.resolve_dapp")
def resolve_dapp() -> None:
    """Read the documents that subscribe attempts need; send their requests."""
    services.resolve_due()


@shared_task(name="subscriptions.check_domains")
def check_domains() -> None:
    """Run domain checks that people have started."""
    single_run("subscriptions.check_domains", services.run_checks)


@shared_task(name="subscriptions.expire_attempts")
def expire_attempts() -> None:
    """End attempts and updates that were not answered in time."""
    services.expire_attempts()
    services.expire_updates()


@drain_task("subscriptions.learn_dapps")
def learn_dapps() -> None:
    """Read the keys of dapps whose subscriptions came through Sync."""
    services.learn_dapps()


@drain_task("subscriptions.recheck_documents")
def recheck_documents() -> None:
    """Read expired documents of subscribed dapps again."""
    services.recheck_documents()


@shared_task(
    name="subscriptions.replay_history",
    time_limit=REPLAY_LIMIT_S,
    soft_time_limit=REPLAY_LIMIT_S - 10,
)
def replay_history() -> None:
    """Read older notifications from History, where they are due."""
    services.replay_due()


@shared_task(name="subscriptions.renew_subscriptions")
def renew_subscriptions() -> None:
    """Renew subscriptions before they expire."""
    services.renew_subscriptions()


@shared_task(name="subscriptions.expire_subscriptions")
def expire_subscriptions() -> None:
    """End expired subscriptions."""
    services.expire_subscriptions()


@shared_task(
    name="subscriptions.watch_accounts",
)
def watch_accounts() -> None:
    """Request the subscription lists of due accounts from the Cast Server."""
    if services.watch_accounts():
        enqueue_on_commit("subscriptions.watch_accounts")


@shared_task(
    name="subscriptions.ask_reads",
)
def ask_reads() -> None:
    """Request the read state of other clients from the Cast Server."""
    if services.ask_reads():
        enqueue_on_commit("subscriptions.ask_reads")


@drain_task("subscriptions.enrich_subscriptions")
def enrich_subscriptions() -> None:
    """Complete listed subscriptions: the dapp's metadata, and the store entry."""
    services.enrich_subscriptions()


@shared_task(name="subscriptions.prune_deleted")
def prune_deleted() -> None:
    """Empty deleted notifications for good."""
    services.prune_deleted()


@shared_task(name="subscriptions.wake_snoozed")
def wake_snoozed() -> None:
    """Return snoozed notifications to the inbox at their time."""
    services.wake_snoozed()


@drain_task("subscriptions.fetch_icons")
def fetch_icons() -> None:
    """Fetch and redraw icons of dapps and notifications."""
    services.fetch_icons()


@shared_task(name="subscriptions.prune_icons")
def prune_icons() -> None:
    """Drop icons that nothing has referred to for two months."""
    services.prune_icons()
