"""What was read in other clients of the account: wallets of the later generation.

Protocol.md, sections 10.1 to 10.3; ``walletconnect.notify.read_state``. A list says how many
notifications the server counts as unread. Where that is not what we think it counts, we
ask which they are, a moment later and once for whatever happened meanwhile:

    compare_counts   in a list: is there something to ask, or something left to tell?
    ask_soon         after a replay of History, which does not say what was read
    ask_reads        the newest page, of every subscription that is due
    receive_pages    what is read there is read here; the next page, as far as it matters

All wallets hear an answer, so those to others are heard as well. Nobody is told what was
learnt here: nothing goes in circles. What a person marks as unread again stays unread, for
the protocol has no word for it (``read_there_at``). A request lives for five minutes and
may be lost. Then a later list shows the difference, and a page what the server never heard.
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
from subscriptions.services.wallet import later_identities, notify_keys, publish
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
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from django.db.models import QuerySet

    from walletconnect.notify.values import NotifyMessage
    from walletconnect.relay.messages import Publication

Kind = SubscriptionJob.Kind
ASK_TASK: Final = "subscriptions.ask_reads"
ASK_BATCH_SIZE: Final = 200
# A person reads several in a row. And a client that shows its history again after marking
# takes any page on the topic for its own answer.
MOMENT: Final = timedelta(seconds=2)
# A mark lives half as long.
LOST_AFTER: Final = timedelta(minutes=10)
# Between a server's sending and the relay's publishing.
ON_ITS_WAY: Final = timedelta(minutes=1)
NO_SUBSCRIPTION: Final = "no subscription has this topic"


def compare_counts(told: Sequence[tuple[Subscription, int]]) -> None:
    """Ask soon where a server's count of unread ones is not what we think it is."""
    if not told:
        return
    counts = _unread_on_server({row.account_id for row, _ in told})
    due: list[Subscription] = []
    settled: list[Subscription] = []
    late: set[App] = set()
    for row, count in told:
        here = counts[_app(row)]
        if here == count:
            settled.append(row)
        # Of what came before we did, the server may count more for ever.
        elif here > count or count != row.unread_told:
            row.unread_told = count
            due.append(row)
        if here < count:
            late.add(_app(row))
    _ask_soon(due)
    _let_be(settled)
    _send_unsent_reads(late)


def _let_be(rows: Iterable[Subscription]) -> None:
    """Nothing to ask any more: the server has our own marks."""
    settled = list(rows)
    SubscriptionJob.objects.cancel(settled, Kind.READS)
    asking = [row for row in settled if row.unread_told is not None]
    for row in asking:
        row.unread_told = None
    Subscription.objects.bulk_update(asking, ["unread_told"])


def _send_unsent_reads(apps: Collection[App]) -> None:
    """Tell what was read here while there was nobody to tell it, or to be told."""
    if apps:
        send_read_state(
            NotifyMessageRecord.objects.filter(
                subscription__account_id__in={account_id for account_id, _ in apps},
                subscription__dapp_url__in={dapp_url for _, dapp_url in apps},
            )
        )


def ask_soon(row: Subscription) -> None:
    """Ask what was read; in the caller's transaction."""
    if row.supports_v1:
        row.unread_told = None
        _ask_soon([row])


def _ask_soon(rows: Sequence[Subscription]) -> None:
    if rows:
        Subscription.objects.bulk_update(rows, ["unread_told"])
        at = clock.now() + MOMENT
        SubscriptionJob.objects.schedule(Kind.READS, rows, at=at)
        enqueue_on_commit(ASK_TASK, delay_s=MOMENT.total_seconds())


def _unread_on_server(account_ids: Collection[int]) -> Counter[App]:
    """How many are unread here, and at the server too for all we know."""
    found = (
        NotifyMessageRecord.objects.unread_on_server()
        .filter(subscription__account_id__in=account_ids)
        .values_list("subscription__account_id", "subscription__dapp_url")
        .annotate(count=Count("pk"))
    )
    return Counter({(account_id, url): count for account_id, url, count in found})


def _app(row: Subscription) -> App:
    return row.account_id, row.dapp_url


# --- asking ---------------------------------------------------------------------------


@transaction.atomic
def ask_reads() -> bool:
    """Ask for the newest page where it is due; whether there may be more."""
    jobs = (
        SubscriptionJob.objects.of_kind(Kind.READS)
        .filter(subscription__listed_by__isnull=False)
        # Until its documents have been read it stays due.
        .exclude(subscription__dapp_authentication_did="")
        .select_related("subscription__account")
        .claim(ASK_BATCH_SIZE, owner="subscription__account__user_id")
    )
    # Asking is writing rows, in this transaction: nothing to wait for.
    SubscriptionJob.objects.filter(pk__in=[job.pk for job in jobs]).update(**NO_WORK)
    rows = [job.subscription for job in jobs]
    publish(_requests(dict.fromkeys(rows)))
    failpoint("reads.before_commit")
    return len(rows) == ASK_BATCH_SIZE


def _requests(after: Mapping[Subscription, str | None]) -> Iterator[Publication]:
    """For each row the page that begins after a notification, or the newest."""
    keys = notify_keys(after)
    wallets = later_identities(row.account for row in after)
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


# --- being told -----------------------------------------------------------------------


def receive_pages(messages: list[Inbound]) -> Declined:
    """Pages on notify topics; runs in the transaction of the dispatch."""
    declined: dict[int, NotHandled] = {}
    rows = Subscription.objects.active().on_topics(
        message.topic for message in messages
    )
    pages: list[tuple[Subscription, NotificationPage]] = []
    for message in messages:
        try:
            pages.append(_page(rows.get(message.topic), message))
        except NotHandled as reason:
            declined[message.pk] = reason
        except RemoteProtocolError as error:
            declined[message.pk] = Refused(str(error))
    read = _follow(pages)
    _resend(pages)
    publish(_requests(_unfinished(pages)))
    record_events(read_events([(pk, owner, account) for pk, owner, account in read]))
    failpoint("reads.told.before_commit")
    return declined


def _page(
    row: Subscription | None, message: Inbound
) -> tuple[Subscription, NotificationPage]:
    if row is None or not row.dapp_authentication_did:
        raise Refused(NO_SUBSCRIPTION)
    if isinstance(message.payload, JsonRpcRequest):
        raise Refused("not an answer")
    page = read_notifications(
        message.payload,
        AccountId.parse(row.account.address),
        app=row.dapp_url,
        dapp_did=row.dapp_authentication_did,
        now=clock.now_s(),
    )
    return row, page


def _follow(
    pages: Iterable[tuple[Subscription, NotificationPage]],
) -> list[tuple[int, int, int]]:
    """Mark as read what is read there; what was unread here until now."""
    records = list(
        _named(pages, is_read=True)
        .select_for_update(of=("self",))
        .filter(read_there_at=None)
        .order_by("pk")
        .values_list("pk", "subscription_id", "subscription__account_id", "read_at")
    )
    now = clock.now()
    fresh = [record[:3] for record in records if record[3] is None]
    of = NotifyMessageRecord.objects.filter
    of(pk__in=[record[0] for record in records]).update(read_there_at=now)
    of(pk__in=[pk for pk, _, _ in fresh]).update(read_at=now, read_by=None)
    return fresh


def _resend(pages: Iterable[tuple[Subscription, NotificationPage]]) -> None:
    """What the server was told and did not hear."""
    unheard = _named(pages, is_read=False).filter(
        read_at__isnull=False, read_there_at__lt=clock.now() - LOST_AFTER
    )
    pks = list(unheard.values_list("pk", flat=True))
    if pks:
        again = NotifyMessageRecord.objects.filter(pk__in=pks)
        again.update(read_there_at=None)
        send_read_state(again)


def _named(
    pages: Iterable[tuple[Subscription, NotificationPage]], *, is_read: bool
) -> QuerySet[NotifyMessageRecord]:
    """The records of what is read there, or of what is not."""
    named = Q(pk__in=[])
    for row, page in pages:
        notes = [note for note in page.notifications if bool(note.is_read) is is_read]
        named |= Q(
            subscription__account_id=row.account_id,
            subscription__dapp_url=row.dapp_url,
            notification_id__in=[note.id for note in notes if note.id],
        )
    return NotifyMessageRecord.objects.filter(named)


def _unfinished(
    pages: Sequence[tuple[Subscription, NotificationPage]],
) -> dict[Subscription, str | None]:
    """Our own questions that need another page: older ones than these are unread here."""
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
    if last.id is None or last.sent_at is None or last.sent_at < 0:
        return False
    unread = NotifyMessageRecord.objects.unread_on_server().filter(
        subscription__account_id=row.account_id, subscription__dapp_url=row.dapp_url
    )
    if row.unread_told is not None and unread.count() <= row.unread_told:
        return False
    moment = datetime.fromtimestamp(min(last.sent_at, clock.now_ms()) / 1000, UTC)
    return unread.filter(published_at__lte=moment + ON_ITS_WAY).exists()
