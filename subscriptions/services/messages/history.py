"""Older notifications of a subscription, read from History.

Spec: servers/history; ``walletconnect.notify.cold_start``. A subscription that came through
Sync is replayed once; the due time and the reason of a failure are in the job's row, so a
lost task loses nothing. Messages that the relay's mailbox has delivered meanwhile are found
again here and change nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from accounts.services import EventKind, record_events
from common import clock
from common.backoff import Backoff
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from history.client import HistoryUnavailable
from subscriptions.models import Subscription, SubscriptionJob
from subscriptions.services.dapps.documents import trusted_signers
from subscriptions.services.messages.messages import (
    Arrived,
    is_storable_id,
    keep_messages,
)
from subscriptions.services.server.remote_reads import ask_soon
from subscriptions.services.subscribe.adoption import REPLAY_TASK
from subscriptions.services.wallet import notify_keys, subscription_event
from syncstore.services import archived_pages
from walletconnect.crypto.keys import Topic
from walletconnect.notify.cold_start import replay_messages

if TYPE_CHECKING:
    from walletconnect.crypto.keys import SymKey

# More than a long history takes. A killed worker's rows are free at once, not after it.
LEASE: Final = timedelta(minutes=5)
BUDGET_S: Final = 60.0
BACKOFF: Final = Backoff(first_s=10.0, max_s=3_600.0, max_attempts=200)
Kind = SubscriptionJob.Kind
# The token of an older message has expired, so its receipt would be refused.
RECEIPT_WITHIN_S: Final = 30 * 24 * 60 * 60


def replay_due() -> int:
    """Replay due subscriptions until none is left or time is over; returns how many.

    All tasks together replay a few at a time, fairly between users. Uses the network.
    """
    until = clock.monotonic() + BUDGET_S
    count = 0
    while job := _claim():
        count += 1
        row = job.subscription
        sym_key = notify_keys([row]).get(Topic(row.topic))
        if sym_key is None:
            _put_off(job, "the subscription's key is no longer in the keychain")
        else:
            try:
                _replay(job, sym_key)
            except HistoryUnavailable as error:
                _put_off(job, f"History Server: {error}")
        if clock.monotonic() > until:
            enqueue_on_commit(REPLAY_TASK)
            break
    return count


def _claim() -> SubscriptionJob | None:
    claimed = (
        SubscriptionJob.objects.of_kind(Kind.HISTORY)
        .select_related("subscription__account")
        # Nothing can be verified without the dapp's key; the job is due once it is known.
        .exclude(subscription__dapp_authentication_did="")
        .claim(
            1,
            owner="subscription__account__user_id",
            lease=LEASE,
            max_in_flight=settings.LIMITS.history_replays,
        )
    )
    return claimed[0] if claimed else None


def _replay(job: SubscriptionJob, sym_key: SymKey) -> None:
    row = job.subscription
    messages = [
        message
        for page in archived_pages(
            Topic(row.topic), most=settings.LIMITS.history_replay_messages
        )
        for message in page
    ]
    received = replay_messages(
        messages,
        row.with_key(sym_key),
        dapp_did=row.dapp_authentication_did,
        also_signed_by=trusted_signers([row])[row.pk],
        now=clock.now_s(),
    )
    failpoint("replay.after_fetch")
    recent: list[Arrived] = []
    older: list[Arrived] = []
    since = clock.now_s() - RECEIPT_WITHIN_S
    for each in received:
        if is_storable_id(each.request_id):
            # The archive has no time of publication; the dapp's token has.
            published_at = each.message.sent_at or each.iat * 1000
            arrived = Arrived(row, each, sym_key, published_at)
            (recent if each.iat >= since else older).append(arrived)
    with transaction.atomic():
        # Everything that ends or changes a subscription takes this lock first.
        active = Subscription.objects.active().select_for_update(of=("self",))
        if not active.filter(pk=row.pk).exists() or not job.finish():
            return
        events = keep_messages(older, receipts=False)
        events += keep_messages(recent)
        if events:
            # The archive does not contain what was read in the meantime.
            ask_soon(row)
        record_events([*events, subscription_event(EventKind.SUBSCRIPTION, row)])


@transaction.atomic
def _put_off(job: SubscriptionJob, reason: str) -> None:
    job.retry_later(BACKOFF, reason)
    record_events([subscription_event(EventKind.SUBSCRIPTION, job.subscription)])
