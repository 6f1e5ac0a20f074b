"""Keeping what subscriptions know of their dapps up to date. Uses the network.

A subscription that came through Sync names its dapp by URL only; the key that its
notifications are signed with is learnt from the dapp's did.json here. Documents of dapps
that somebody is subscribed to are read again when they are due.
"""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.db.models import Q

from accounts.services import record_events
from groundwork import clock
from groundwork.wake import enqueue_on_commit
from subscriptions.models import URL_LENGTH, DappDocument, Subscription
from subscriptions.services.adoption import REPLAY_TASK
from subscriptions.services.documents import (
    canonical_url,
    current_documents,
    keep_readings,
    read_all,
)
from subscriptions.services.errors import DappUnusable
from subscriptions.services.wallet import SUBSCRIPTION, subscription_event

LEARN_TOGETHER: Final = 50
RECHECK_TOGETHER: Final = 50


def learn_dapps() -> int:
    """Give subscriptions the key of their dapp; how many got one.

    A document that cannot be read holds for two minutes; the sweep asks again then.
    """
    rows = Subscription.objects.active().filter(dapp_authentication_did="")
    urls = rows.values_list("dapp_url", flat=True).distinct()
    spelled = _canonical(list(urls.order_by("dapp_url")[:LEARN_TOGETHER]))
    if not spelled:
        return 0
    documents = current_documents(set(spelled.values()))
    found = {
        url: documents[canonical].authentication_key
        for url, canonical in spelled.items()
        if documents[canonical].is_usable
    }
    return _keep(found)


def _canonical(urls: list[str]) -> dict[str, str]:
    """The URLs that could be a dapp's at all, with their one spelling."""
    found = {}
    for url in urls:
        try:
            found[url] = canonical_url(url)
        except DappUnusable:
            # A peer's entry with an address that is not reached: nothing to learn.
            continue
    return found


@transaction.atomic
def _keep(dids: dict[str, str]) -> int:
    rows = list(
        Subscription.objects.active()
        .select_for_update(of=("self",))
        .select_related("account")
        .filter(dapp_url__in=list(dids), dapp_authentication_did="")
        .order_by("pk")
    )
    for row in rows:
        row.dapp_authentication_did = dids[row.dapp_url]
        # Notifications that could not be verified until now.
        row.history_due_at = clock.now()
    Subscription.objects.bulk_update(
        rows, ["dapp_authentication_did", "history_due_at"]
    )
    if rows:
        enqueue_on_commit(REPLAY_TASK)
    record_events([subscription_event(SUBSCRIPTION, row) for row in rows])
    return len(rows)


def recheck_documents() -> int:
    """Read the documents of subscribed dapps again that are due; how many."""
    subscribed = Subscription.objects.active().values("dapp_url")
    due = DappDocument.objects.filter(
        Q(expires_at=None) | Q(expires_at__lte=clock.now()), url__in=subscribed
    )
    urls = list(due.order_by("expires_at").values_list("url", flat=True))
    urls = [url for url in urls if len(url) <= URL_LENGTH][:RECHECK_TOGETHER]
    if urls:
        keep_readings(read_all(urls))
    return len(urls)
