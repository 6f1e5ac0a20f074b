"""Older notifications of a subscription, read from History.

Spec: servers/history; protocol.md, section 9; ``walletconnect.notify.cold_start``. A
subscription that came through Sync is due for it once; the row keeps the due time, so
that a lost task loses nothing, and says why its history is incomplete. What the relay's
mailbox brought meanwhile is met again here and changes nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction

from accounts.services import record_events
from groundwork import clock, entropy
from groundwork.failpoints import failpoint
from history.client import HistoryUnavailable
from subscriptions.models import REASON_LENGTH, Subscription
from subscriptions.services.messages import Arrived, keep_messages
from subscriptions.services.read_elsewhere import ask_soon
from subscriptions.services.wallet import SUBSCRIPTION, notify_keys, subscription_event
from syncstore.services import archived_pages
from walletconnect.crypto.keys import Topic
from walletconnect.notify.cold_start import replay_messages

if TYPE_CHECKING:
    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.message import ReceivedMessage

REPLAY_TOGETHER: Final = 20
LEASE: Final = timedelta(minutes=5)
# A subscription older than that many notifications shows the newest of them.
MOST_MESSAGES: Final = 2_000
FIRST_DELAY_S: Final = 5.0
LONGEST_DELAY_S: Final = 3_600.0
MOST_ATTEMPTS: Final = 200
# A receipt for an older one interests nobody: its token is no longer valid.
RECEIPT_WITHIN_S: Final = 30 * 24 * 60 * 60


def replay_due() -> int:
    """Replay subscriptions that are due, a few together; how many were taken."""
    rows = _claim()
    keys = notify_keys(rows)
    for row in rows:
        sym_key = keys.get(Topic(row.topic))
        if sym_key is None:
            _put_off(row, "the subscription's key is no longer in the keychain")
            continue
        try:
            _replay(row, sym_key)
        except HistoryUnavailable as error:
            _put_off(row, f"History Server: {error}")
    return len(rows)


@transaction.atomic
def _claim() -> list[Subscription]:
    now = clock.now()
    rows = list(
        Subscription.objects.active()
        .select_for_update(of=("self",), skip_locked=True)
        .select_related("account")
        .filter(history_due_at__lte=now)
        # Without the dapp's key nothing can be verified; learning it makes it due.
        .exclude(dapp_authentication_did="")
        .order_by("history_due_at")[:REPLAY_TOGETHER]
    )
    for row in rows:
        row.history_due_at = now + LEASE
        row.history_attempts += 1
    Subscription.objects.bulk_update(rows, ["history_due_at", "history_attempts"])
    return rows


def _replay(row: Subscription, sym_key: SymKey) -> None:
    messages = [
        message
        for page in archived_pages(Topic(row.topic), most=MOST_MESSAGES)
        for message in page
    ]
    replay = replay_messages(
        messages,
        row.with_key(sym_key),
        dapp_did=row.dapp_authentication_did,
        now=clock.now_s(),
    )
    failpoint("replay.after_fetch")
    _keep(row, sym_key, list(replay.messages))


@transaction.atomic
def _keep(row: Subscription, sym_key: SymKey, found: list[ReceivedMessage]) -> None:
    done = Subscription.objects.filter(
        pk=row.pk, deleted_at=None, history_due_at=row.history_due_at
    ).update(history_due_at=None, history_attempts=0, history_reason="")
    if not done:
        # Left meanwhile, or somebody else took over.
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
    record_events([*events, subscription_event(SUBSCRIPTION, row)])


def _has_number(received: ReceivedMessage) -> bool:
    rpc_id = received.request_id
    return isinstance(rpc_id, int) and 0 < rpc_id < 2**63


def _arrived(row: Subscription, sym_key: SymKey, received: ReceivedMessage) -> Arrived:
    # An archive does not say when a message was published; the dapp's token does.
    published_at = received.message.sent_at or received.iat * 1000
    return Arrived(row, received, sym_key, published_at)


@transaction.atomic
def _put_off(row: Subscription, reason: str) -> None:
    gives_up = row.history_attempts >= MOST_ATTEMPTS
    delay = min(FIRST_DELAY_S * 2 ** min(row.history_attempts, 12), LONGEST_DELAY_S)
    due = clock.now() + timedelta(seconds=entropy.jitter(delay))
    Subscription.objects.filter(pk=row.pk).update(
        history_due_at=None if gives_up else due, history_reason=reason[:REASON_LENGTH]
    )
    record_events([subscription_event(SUBSCRIPTION, row)])
