"""Tasks of the wallet side. Due work is in the database, so tasks take no arguments, and
one that is lost, late or repeated changes nothing.
"""

from __future__ import annotations

from celery import shared_task

from common.drain import DRAIN_TIME_LIMIT_S, single_run
from common.wake import enqueue_on_commit
from subscriptions import services

TIME_LIMIT_S = 50
REPLAY_LIMIT_S = 280


@shared_task(
    name="subscriptions.resolve_dapp",
    acks_late=True,
    reject_on_worker_lost=True,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
    ignore_result=True,
)
def resolve_dapp() -> None:
    """Read the documents that subscribe attempts need; send their requests."""
    single_run("subscriptions.resolve_dapp", services.resolve_due)


@shared_task(
    name="subscriptions.check_domains",
    acks_late=True,
    reject_on_worker_lost=True,
    time_limit=TIME_LIMIT_S,
    ignore_result=True,
)
def check_domains() -> None:
    """Run domain checks that people have started."""
    single_run("subscriptions.check_domains", services.run_checks)


@shared_task(name="subscriptions.expire_attempts", ignore_result=True)
def expire_attempts() -> None:
    """End attempts and updates that were not answered in time."""
    services.expire_attempts()
    services.expire_updates()


@shared_task(
    name="subscriptions.learn_dapps",
    acks_late=True,
    reject_on_worker_lost=True,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
    ignore_result=True,
)
def learn_dapps() -> None:
    """Read the keys of dapps whose subscriptions came through Sync."""
    single_run("subscriptions.learn_dapps", services.learn_dapps)


@shared_task(
    name="subscriptions.recheck_documents",
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
    ignore_result=True,
)
def recheck_documents() -> None:
    """Read expired documents of subscribed dapps again."""
    single_run("subscriptions.recheck_documents", services.recheck_documents)


@shared_task(
    name="subscriptions.replay_history",
    acks_late=True,
    reject_on_worker_lost=True,
    time_limit=REPLAY_LIMIT_S,
    ignore_result=True,
)
def replay_history() -> None:
    """Read older notifications from History, where they are due."""
    services.replay_due()


@shared_task(name="subscriptions.renew_subscriptions", ignore_result=True)
def renew_subscriptions() -> None:
    """Renew subscriptions before they expire."""
    services.renew_subscriptions()


@shared_task(name="subscriptions.expire_subscriptions", ignore_result=True)
def expire_subscriptions() -> None:
    """End expired subscriptions."""
    services.expire_subscriptions()


@shared_task(
    name="subscriptions.watch_accounts",
    acks_late=True,
    reject_on_worker_lost=True,
    time_limit=TIME_LIMIT_S,
    ignore_result=True,
)
def watch_accounts() -> None:
    """Request the subscription lists of due accounts from the Cast Server."""
    if services.watch_accounts():
        enqueue_on_commit("subscriptions.watch_accounts")


@shared_task(
    name="subscriptions.ask_reads",
    acks_late=True,
    reject_on_worker_lost=True,
    time_limit=TIME_LIMIT_S,
    ignore_result=True,
)
def ask_reads() -> None:
    """Request the read state of other clients from the Cast Server."""
    if services.ask_reads():
        enqueue_on_commit("subscriptions.ask_reads")


@shared_task(
    name="subscriptions.enrich_subscriptions",
    acks_late=True,
    reject_on_worker_lost=True,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
    ignore_result=True,
)
def enrich_subscriptions() -> None:
    """Complete listed subscriptions: the dapp's metadata, and the store entry."""
    single_run("subscriptions.enrich_subscriptions", services.enrich_subscriptions)


@shared_task(name="subscriptions.prune_deleted", ignore_result=True)
def prune_deleted() -> None:
    """Empty deleted notifications for good."""
    services.prune_deleted()


@shared_task(name="subscriptions.wake_snoozed", ignore_result=True)
def wake_snoozed() -> None:
    """Return snoozed notifications to the inbox at their time."""
    services.wake_snoozed()


@shared_task(
    name="subscriptions.fetch_icons",
    acks_late=True,
    reject_on_worker_lost=True,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
    ignore_result=True,
)
def fetch_icons() -> None:
    """Fetch and redraw icons of dapps and notifications."""
    single_run("subscriptions.fetch_icons", services.fetch_icons)


@shared_task(name="subscriptions.prune_icons", ignore_result=True)
def prune_icons() -> None:
    """Drop icons that nothing has referred to for two months."""
    services.prune_icons()
