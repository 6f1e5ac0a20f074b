"""Watching at the Cast Server: subscription lists of our accounts, in protocol v1.

``walletconnect.notify.watch``. An account whose owner permits it asks the Cast Server for its
subscriptions and receives the full list, at once and whenever it changes. The lists are
applied in ``subscriptions.services.server.server_list``.

    watch_accounts   send requests for all due accounts: new ones, renewals, retries
    watch_soon       make an account due, because a client has signed in with it
    receive_lists    verify the responses and announcements

What is due is in the rows (``AccountWatch.next_attempt_at``). A request without a response
expires after five minutes and is then replaced by one with a new token.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import Exists, OuterRef

from accounts.models import Account
from accounts.services import record_events
from common import clock, entropy
from common.backoff import Backoff
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from common.work_queue import fresh_work, in_batches
from identity.models import IdentityKey
from keychain.services import Holder, forget, key_pairs, put_key_pair, put_sym_keys
from messaging import outbox
from messaging.dispatch import Declined, Inbound, NotHandled, Refused
from messaging.models import Party
from subscriptions.models.dapps import REASON_LENGTH
from subscriptions.models.watches import AccountWatch, WatchedServer
from subscriptions.services.dapps.servers import up_to_date, watched_server
from subscriptions.services.server.server_list import apply_server_lists
from subscriptions.services.wallet import publish, v1_identities
from syncstore.services import lock_stores
from walletconnect.crypto.keys import KeyPair, Topic
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.methods import WATCH
from walletconnect.notify.watch import (
    WATCHER_LIFE,
    SubscriptionList,
    read_subscriptions,
    request_watch,
)
from walletconnect.relay.rpc import JsonRpcRequest
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from collections.abc import Collection

    from common.work_queue import WorkQuerySet
    from walletconnect.relay.messages import Publication

WATCH_TASK: Final = "subscriptions.watch_accounts"
WATCH_BATCH_SIZE: Final = 200
# The server drops a watcher after a day. A quarter of it is left for retries.
RENEW_AFTER_S: Final = WATCHER_LIFE * 3 / 4
BACKOFF: Final = Backoff(first_s=WATCH.ttl, max_s=3_600.0)
# Until a client signs in, or a Keys Server has confirmed a key.
NO_IDENTITY_BACKOFF: Final = Backoff(first_s=60.0, max_s=3_600.0)
NO_IDENTITY: Final = "no identity key of the account may see all apps now"
NOT_WATCHING: Final = "no account watches on this topic"
OUTDATED: Final = "older than a list that was applied"
_REQUEST_FIELDS: Final = [
    "identity_did",
    "server_did",
    "topic_of_key_pair",
    "response_topic",
    "rpc_id",
    "requested_at",
    "leased_until",
    "leased_by",
    "next_attempt_at",
    "reason",
]
_LIST_FIELDS: Final = [
    "list_iat",
    "answered_at",
    "attempts",
    "reason",
    "next_attempt_at",
]


def watch_soon(account: Account, **_: object) -> None:
    """Request the account's list soon: a client has signed in with it."""
    AccountWatch.objects.filter(account=account).update(**fresh_work())
    enqueue_on_commit(WATCH_TASK)


# --- requests -------------------------------------------------------------------------


def watch_accounts() -> bool:
    """Send requests for due accounts. True if there may be more. Uses the network."""
    server = watched_server()
    _leave_other_servers(server)
    # A list is addressed to an identity key; one that was retired receives none.
    active = IdentityKey.objects.active().filter(did=OuterRef("identity_did"))
    AccountWatch.objects.filter(~Exists(active), server=server).exclude(
        identity_did=""
    ).update(identity_did="", **fresh_work())
    _add_new_accounts(server)
    if not _due(server).exists():
        return False
    server = up_to_date(server)
    failpoint("watch.after_fetch")
    if not server.is_usable:
        _due(server).update(next_attempt_at=server.expires_at, reason=server.reason)
        return False
    return _request_lists(server) == WATCH_BATCH_SIZE


def _due(server: WatchedServer) -> WorkQuerySet[AccountWatch]:
    return AccountWatch.objects.filter(server=server).due()


@in_batches
@transaction.atomic
def _leave_other_servers(server: WatchedServer) -> int:
    """Delete the watches at servers that were configured before this one."""
    rows = list(
        AccountWatch.objects.select_for_update(of=("self",), skip_locked=True)
        .exclude(server=server)
        .order_by("pk")[:WATCH_BATCH_SIZE]
    )
    _leave_topics([row.response_topic for row in rows])
    forget(Holder.WALLET, [row.topic_of_key_pair for row in rows])
    AccountWatch.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def _leave_topics(topics: Collection[str]) -> None:
    used = [topic for topic in topics if topic]
    outbox.unsubscribe(Party.WALLET, used)
    forget(Holder.WALLET, used)


@in_batches
@transaction.atomic
def _add_new_accounts(server: WatchedServer) -> int:
    """Add rows for the accounts that may watch and have none yet."""
    missing = list(
        Account.objects.filter(
            identity_keys__retired_at=None, identity_keys__registered_at__isnull=False
        )
        .exclude(watches__server=server)
        .order_by("pk")
        .values_list("pk", flat=True)
        .distinct()[:WATCH_BATCH_SIZE]
    )
    # Locked: an account that is being removed meanwhile must not get a row that its
    # removal does not see, since the foreign key would then make the removal fail.
    accounts = Account.objects.locked(skip=True).filter(pk__in=missing)
    now = clock.now()
    rows = [
        AccountWatch(
            account=account, server=server, next_attempt_at=now, created_at=now
        )
        for account in accounts
    ]
    AccountWatch.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


@transaction.atomic
def _request_lists(server: WatchedServer) -> int:
    """Send requests for due accounts, in one transaction; returns how many were due."""
    watches = AccountWatch.objects.filter(server=server).select_related("account")
    rows = watches.claim(WATCH_BATCH_SIZE, owner="account__user_id")
    wallets = v1_identities(
        [row.account for row in rows],
        # A list is addressed to the key that asked, so the same key asks again.
        preferred={row.account_id: row.identity_did for row in rows},
    )
    pairs = key_pairs(Holder.WALLET, [row.topic_of_key_pair for row in rows])
    now = clock.now()
    publications: list[Publication] = []
    left: list[str] = []
    for row in rows:
        # Requests are rows of this transaction, so the lease ends with it.
        row.leased_until = row.leased_by = None
        wallet = wallets.get(row.account_id)
        if wallet is None:
            left.append(row.response_topic)
            row.identity_did, row.response_topic, row.rpc_id = "", "", None
            row.reason = NO_IDENTITY
            row.next_attempt_at = now + NO_IDENTITY_BACKOFF.delay(row.attempts)
            continue
        key_pair = pairs.get(Topic(row.topic_of_key_pair))
        if key_pair is None:
            key_pair = KeyPair.from_private(entropy.key_bytes())
            put_key_pair(Holder.WALLET, key_pair, account_id=row.account_id)
        request = request_watch(
            server.document,
            wallet,
            key_pair=key_pair,
            app=None,
            request_id=clock.payload_id(),
            iv=entropy.iv(),
            now=clock.now_s(),
            # Without it the server also announces what this client's own requests
            # changed, and every change takes the same path here.
            mjv=None,
        )
        if row.response_topic != request.sym_key.topic:
            left.append(row.response_topic)
            put_sym_keys(Holder.WALLET, [request.sym_key], account_id=row.account_id)
        row.identity_did = request.pending.identity_did
        row.server_did = request.pending.server_did
        row.topic_of_key_pair = key_pair.topic
        row.response_topic = request.sym_key.topic
        row.rpc_id = int(request.pending.request_id)
        row.requested_at = now
        row.next_attempt_at = now + BACKOFF.delay(row.attempts)
        publications.append(request.publish)
    _leave_topics(left)
    outbox.subscribe(
        Party.WALLET, [row.response_topic for row in rows if row.response_topic]
    )
    publish(publications)
    AccountWatch.objects.bulk_update(rows, _REQUEST_FIELDS)
    failpoint("watch.before_commit")
    return len(rows)


# --- lists ----------------------------------------------------------------------------


def receive_lists(messages: list[Inbound]) -> Declined:
    """Responses to watches, and announcements; in the transaction of the dispatch."""
    declined: dict[int, NotHandled] = {}
    watching = AccountWatch.objects.filter(
        response_topic__in={message.topic for message in messages}
    )
    accounts = set(watching.values_list("account_id", flat=True))
    # The answer to a subscribe request that is listed may be at another worker.
    list(Account.objects.locked().filter(pk__in=accounts))
    lock_stores(account_id__in=accounts, name=NOTIFY_SUBSCRIPTION_STORE)
    locked = watching.select_for_update(of=("self",)).select_related(
        "account", "server"
    )
    rows = {row.response_topic: row for row in locked.order_by("pk")}
    lists: dict[int, tuple[AccountWatch, SubscriptionList]] = {}
    for message in messages:
        row = rows.get(message.topic)
        if row is None:
            declined[message.pk] = Refused(NOT_WATCHING)
            continue
        try:
            listed = read_subscriptions(message.payload, row.pending, now=clock.now_s())
        except RemoteProtocolError as error:
            declined[message.pk] = Refused(str(error))
            if error.code is ErrorCode.REFUSED:
                # The request is sent again when it is due.
                reason = f"The Cast Server refused: {error.message}"
                row.reason = reason[:REASON_LENGTH]
            continue
        if listed.iat < row.list_iat:
            declined[message.pk] = Refused(OUTDATED)
            continue
        row.list_iat = listed.iat
        if not isinstance(message.payload, JsonRpcRequest):
            now = clock.now()
            row.answered_at, row.attempts, row.reason = now, 0, ""
            row.next_attempt_at = now + timedelta(
                seconds=entropy.jitter(RENEW_AFTER_S, share=0.1)
            )
        # Every list is complete, so only the last of several is applied.
        lists[row.pk] = row, listed
    AccountWatch.objects.bulk_update(rows.values(), _LIST_FIELDS)
    record_events(apply_server_lists(list(lists.values())))
    failpoint("watch.told.before_commit")
    return declined
