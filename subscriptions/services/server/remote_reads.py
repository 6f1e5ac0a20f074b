"""Read state of other clients of the account: wallets of protocol v1.

``walletconnect.notify.read_state``. A list carries how many notifications the server counts
as unread. Where that differs from our own count, we ask which they are, a moment later and
once for everything that happened meanwhile:

    compare_counts   from a list: is there something to ask for, or something to send?
    ask_soon         after a replay of History, which does not contain the read state
    ask_reads        requests the newest page, for every due subscription
    receive_pages    marks as read what is read at the server; requests the next page if
                     older notifications are unread here

All wallets receive the answers on the topic, so answers to others are applied as well.
What is learnt here is not sent on, so no update circulates. A notification that a person
marks as unread again stays unread: the protocol cannot express it (``server_read_at``). A
request expires after five minutes and may be lost; then a later list shows the difference.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import Count, Q

from accounts.services import record_events
from common import clock, entropy
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from common.work_queue import NO_WORK
from identity.models import IdentityKey
from messaging.dispatch import Declined, Inbound, NotHandled, Refused
from subscriptions.models import NotifyMessageRecord, Subscription, SubscriptionJob
from subscriptions.services.messages.read_state import App, read_events, send_read_state
from subscriptions.services.wallet import notify_keys, publish, v1_identities
from walletconnect.crypto.keys import Topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.notify.read_state import (
    NotificationPage,
    read_notifications,
    request_get_notifications,
)
from walletconnect.relay.rpc import JsonRpcRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from django.db.models import QuerySet

    from walletconnect.notify.values import NotifyMessage
    from walletconnect.relay.messages import Publication

Kind = SubscriptionJob.Kind
ASK_TASK: Final = "subscriptions.ask_reads"
ASK_BATCH_SIZE: Final = 200
# A person reads several in a row, and one request covers them. Also, a v1 client that has
# just marked something takes any page on the topic as the response to its own request.
DELAY: Final = timedelta(seconds=2)
# Twice as long as a mark request lives.
LOST_AFTER: Final = timedelta(minutes=10)
# Between the server's sending and the relay's publishing.
CLOCK_TOLERANCE: Final = timedelta(minutes=1)
NO_SUBSCRIPTION: Final = "no subscription has this topic"


def compare_counts(counted: Sequence[tuple[Subscription, int]]) -> None:
    """Ask soon where a server's count of unread ones differs from ours."""
    if not counted:
        return
    accounts = {row.account_id for row, _ in counted}
    found = (
        NotifyMessageRecord.objects.unread_on_server()
        .filter(subscription__account_id__in=accounts)
        .values_list("subscription__account_id", "subscription__dapp_url")
        .annotate(count=Count("pk"))
    )
    ours = Counter({(account_id, url): count for account_id, url, count in found})
    due: list[Subscription] = []
    equal: list[Subscription] = []
    unsent: set[App] = set()
    for row, count in counted:
        app = row.account_id, row.dapp_url
        if ours[app] == count:
            equal.append(row)
        # Notifications from before the account joined here are unread at the server for
        # good: a higher count that has not changed is not asked about again.
        elif ours[app] > count or count != row.server_unread_count:
            row.server_unread_count = count
            due.append(row)
        if ours[app] < count:
            unsent.add(app)
    _ask_soon(due)
    SubscriptionJob.objects.cancel(equal, Kind.READS)
    asking = [row for row in equal if row.server_unread_count is not None]
    for row in asking:
        row.server_unread_count = None
    Subscription.objects.bulk_update(asking, ["server_unread_count"])
    if unsent:
        # Read here while the account had no signing identity, or the dapp was unlisted.
        send_read_state(
            NotifyMessageRecord.objects.filter(
                subscription__account_id__in={account_id for account_id, _ in unsent},
                subscription__dapp_url__in={dapp_url for _, dapp_url in unsent},
            )
        )


def ask_soon(row: Subscription) -> None:
    """Ask what was read; in the caller's transaction."""
    if row.dialect.has_read_state:
        row.server_unread_count = None
        _ask_soon([row])


def _ask_soon(rows: Sequence[Subscription]) -> None:
    if rows:
        Subscription.objects.bulk_update(rows, ["server_unread_count"])
        at = clock.now() + DELAY
        SubscriptionJob.objects.schedule(Kind.READS, rows, at=at)
        enqueue_on_commit(ASK_TASK, delay_s=DELAY.total_seconds())


# --- requests -------------------------------------------------------------------------


@transaction.atomic
def ask_reads() -> bool:
    """Request the newest page where it is due. True if there may be more."""
    jobs = (
        SubscriptionJob.objects.of_kind(Kind.READS)
        .filter(subscription__listed_by__isnull=False)
        # Stays due until its dapp's key is known.
        .exclude(subscription__dapp_authentication_did="")
        .select_related("subscription__account")
        .claim(ASK_BATCH_SIZE, owner="subscription__account__user_id")
    )
    # Requests are rows of this transaction, so the lease ends with it.
    SubscriptionJob.objects.filter(pk__in=[job.pk for job in jobs]).update(**NO_WORK)
    rows = [job.subscription for job in jobs]
    publish(_requests(dict.fromkeys(rows)))
    failpoint("reads.before_commit")
    return len(rows) == ASK_BATCH_SIZE


def _requests(after: Mapping[Subscription, str | None]) -> Iterator[Publication]:
    """For each row a request for the page after a notification, or for the newest."""
    keys = notify_keys(after)
    wallets = v1_identities(row.account for row in after)
    for row, notification_id in after.items():
        sym_key = keys.get(Topic(row.topic))
        wallet = wallets.get(row.account_id)
        if sym_key is not None and wallet is not None:
            yield request_get_notifications(
                row.with_key(sym_key),
                wallet,
                dapp_did=row.dapp_authentication_did,
                request_id=clock.payload_id(),
                iv=entropy.iv(),
                now=clock.now_s(),
                after=notification_id,
            )


# --- pages ----------------------------------------------------------------------------


def receive_pages(messages: list[Inbound]) -> Declined:
    """Pages on notify topics; runs in the transaction of the dispatch."""
    declined: dict[int, NotHandled] = {}
    rows = Subscription.objects.active().on_topics(
        message.topic for message in messages
    )
    pages: list[tuple[Subscription, NotificationPage]] = []
    for message in messages:
        row = rows.get(message.topic)
        if row is None or not row.dapp_authentication_did:
            declined[message.pk] = Refused(NO_SUBSCRIPTION)
        elif isinstance(message.payload, JsonRpcRequest):
            declined[message.pk] = Refused("not an answer")
        else:
            try:
                page = read_notifications(
                    message.payload,
                    AccountId.parse(row.account.address),
                    app=row.dapp_url,
                    dapp_did=row.dapp_authentication_did,
                    now=clock.now_s(),
                )
                pages.append((row, page))
            except RemoteProtocolError as error:
                declined[message.pk] = Refused(str(error))
    records = list(
        _records_on(pages, is_read=True)
        .select_for_update(of=("self",))
        .filter(server_read_at=None)
        .order_by("pk")
        .values_list("pk", "subscription_id", "subscription__account_id", "read_at")
    )
    now = clock.now()
    fresh = [
        (pk, owner, account_id)
        for pk, owner, account_id, read_at in records
        if read_at is None
    ]
    with_pks = NotifyMessageRecord.objects.filter
    with_pks(pk__in=[record[0] for record in records]).update(server_read_at=now)
    with_pks(pk__in=[record[0] for record in fresh]).update(read_at=now, read_by=None)
    # Sent once, but unread at the server after its request has expired: send it again.
    lost = _records_on(pages, is_read=False).filter(
        read_at__isnull=False, server_read_at__lt=clock.now() - LOST_AFTER
    )
    pks = list(lost.values_list("pk", flat=True))
    if pks:
        again = NotifyMessageRecord.objects.filter(pk__in=pks)
        again.update(server_read_at=None)
        send_read_state(again)
    publish(_requests(_unfinished(pages)))
    record_events(read_events(fresh))
    failpoint("reads.reported.before_commit")
    return declined


def _records_on(
    pages: Iterable[tuple[Subscription, NotificationPage]], *, is_read: bool
) -> QuerySet[NotifyMessageRecord]:
    """Our records of the notifications that are read at the server, or unread there."""
    found = Q(pk__in=[])
    for row, page in pages:
        notes = [note for note in page.notifications if bool(note.is_read) is is_read]
        found |= Q(
            subscription__account_id=row.account_id,
            subscription__dapp_url=row.dapp_url,
            notification_id__in=[note.id for note in notes if note.id],
        )
    return NotifyMessageRecord.objects.filter(found)


def _unfinished(
    pages: Sequence[tuple[Subscription, NotificationPage]],
) -> dict[Subscription, str | None]:
    """Our own requests that need another page, with the last notification they have."""
    asked = {page.asked_by for _, page in pages if page.more and page.notifications}
    if not asked:
        return {}
    ours = set(
        IdentityKey.objects.active().filter(did__in=asked).values_list("did", "account")
    )
    return {
        row: page.notifications[-1].id
        for row, page in pages
        if (page.asked_by, row.account_id) in ours
        and page.more
        and _is_unread_before(row, page.notifications[-1])
    }


def _is_unread_before(row: Subscription, last: NotifyMessage) -> bool:
    """Whether older notifications than this one are unread here."""
    if last.id is None or last.sent_at is None or last.sent_at < 0:
        return False
    unread = NotifyMessageRecord.objects.unread_on_server().filter(
        subscription__account_id=row.account_id, subscription__dapp_url=row.dapp_url
    )
    count = row.server_unread_count
    if count is not None and unread.count() <= count:
        return False
    sent_at = datetime.fromtimestamp(min(last.sent_at, clock.now_ms()) / 1000, UTC)
    return unread.filter(published_at__lte=sent_at + CLOCK_TOLERANCE).exists()
