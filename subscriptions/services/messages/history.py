"""Older notifications of a subscription, read from History.

Spec: servers/history; protocol.md, section 9; ``walletconnect.notify.cold_start``. A
subscription that came through Sync is due for it once; the row keeps the due time, so
that a lost task loses nothing, and says why its history is incomplete. What the relay's
mailbox brought meanwhile is met again here and changes nothing.
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
from subscriptions.services.messages.messages import Arrived, keep_messages
from subscriptions.services.server.remote_reads import ask_soon
from subscriptions.services.subscribe.adoption import REPLAY_TASK
from subscriptions.services.wallet import notify_keys, subscription_event
from syncstore.services import archived_pages
from walletconnect.crypto.keys import Topic
from walletconnect.notify.cold_start import replay_messages

if TYPE_CHECKING:
    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.message import ReceivedMessage

# Above the time that a long history takes; a killed worker's lease ends before.
LEASE: Final = timedelta(minutes=5)
BUDGET_S: Final = 60.0
BACKOFF: Final = Backoff(first_s=10.0, max_s=3_600.0, max_attempts=200)
Kind = SubscriptionJob.Kind
# A receipt for an older one interests nobody: its token is no longer valid.
RECEIPT_WITHIN_S: Final = 30 * 24 * 60 * 60


def replay_due() -> int:
    """Replay subscriptions that are due, until none is or time is over; how many.

    A few at the same time over all tasks, fair between users. Uses the network.
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
        # Without the dapp's key nothing can be verified; learning it makes it due.
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
        now=clock.now_s(),
    )
    failpoint("replay.after_fetch")
    _keep(job, sym_key, received)


@transaction.atomic
def _keep(job: SubscriptionJob, sym_key: SymKey, found: list[ReceivedMessage]) -> None:
    row = job.subscription
    # Behind the subscription's lock, as everything that ends or follows it.
    active = Subscription.objects.active().select_for_update(of=("self",))
    if not active.filter(pk=row.pk).exists() or not job.finish():
        return
    since = clock.now_s() - RECEIPT_WITHIN_S
    readable = [each for each in found if _has_number(each)]
    recent = [_arrived(row, sym_key, each) for each in readable if each.iat >= since]
    older = [_arrived(row, sym_key, each) for each in readable if each.iat < since]
    events = keep_messages(older, receipts=False)
    events += keep_messages(recent)
    if events:
        # An archive does not say what was read in the meantime.
        ask_soon(row)
    record_events([*events, subscription_event(EventKind.SUBSCRIPTION, row)])


def _has_number(received: ReceivedMessage) -> bool:
    rpc_id = received.request_id
    return isinstance(rpc_id, int) and 0 < rpc_id < 2**63


def _arrived(row: Subscription, sym_key: SymKey, received: ReceivedMessage) -> Arrived:
    # An archive does not say when a message was published; the dapp's token does.
    published_at = received.message.sent_at or received.iat * 1000
    return Arrived(row, received, sym_key, published_at)


@transaction.atomic
def _put_off(job: SubscriptionJob, reason: str) -> None:
    job.retry_later(BACKOFF, reason)
    record_events([subscription_event(EventKind.SUBSCRIPTION, job.subscription)])
