"""Watching at the Cast Server: our accounts as clients of the later generation.

Protocol.md, sections 10.1 to 10.3; ``walletconnect.notify.watch``. An account whose owner
lets us see all apps asks the Cast Server for its subscriptions and is told the full list,
at once and whenever it changes. What comes of a list is ``subscriptions.services.server.server_list``.

    watch_accounts   ask for every account that is due: new ones, renewals, retries
    watch_soon       make an account due, because somebody has signed in with it
    receive_lists    the answers and announcements, verified

What is due is in the rows (``AccountWatch.next_attempt_at``). A request that nobody
answered lives for five minutes and is then made anew: another request with a new token.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from common.work_queue import fresh_work
from identity import services as identity
from identity.models import IdentityKey
from keychain.services import Holder, forget, key_pairs, put_key_pair, put_sym_keys
from messaging import outbox
from messaging.dispatch import Declined, Inbound, NotHandled, Refused
from messaging.models import Party
from subscriptions.models.dapps import REASON_LENGTH
from subscriptions.models.watches import AccountWatch, WatchedServer
from subscriptions.services.dapps.servers import up_to_date, watched_server
from subscriptions.services.server.server_list import Told, apply_server_lists
from subscriptions.services.wallet import publish, voice
from syncstore.services import lock_stores
from walletconnect.crypto.keys import KeyPair, Topic
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.methods import WATCH
from walletconnect.notify.watch import (
    WATCHER_LIFE,
    SubscriptionList,
    WatchRequest,
    read_subscriptions,
    request_watch,
)
from walletconnect.relay.rpc import JsonRpcRequest
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from common.work_queue import WorkQuerySet
    from walletconnect.notify.parties import WalletIdentity

WATCH_TASK: Final = "subscriptions.watch_accounts"
WATCH_BATCH_SIZE: Final = 200
# The server forgets a watcher after a day; we ask again well before.
RENEW_AFTER_S: Final = WATCHER_LIFE * 3 / 4
BACKOFF: Final = Backoff(first_s=WATCH.ttl, max_s=3_600.0)
# Until somebody signs in, or a Keys Server has confirmed a key.
NO_IDENTITY_BACKOFF: Final = Backoff(first_s=60.0, max_s=3_600.0)
NO_IDENTITY: Final = "no identity key of the account may see all apps now"
NOT_WATCHING: Final = "no account watches on this topic"
OUTDATED: Final = "older than a list that was applied"


def watch_soon(account: Account, **_: object) -> None:
    """Somebody has signed in with the account: hear soon what it is subscribed to."""
    AccountWatch.objects.filter(account=account).update(**fresh_work())
    enqueue_on_commit(WATCH_TASK)


# --- asking ---------------------------------------------------------------------------


def watch_accounts() -> bool:
    """Ask for the accounts that are due; whether there may be more. Uses the network."""
    server = watched_server()
    _leave_other_servers(server)
    _renew_signers(server)
    _admit(server)
    if not _due(server).exists():
        return False
    server = up_to_date(server)
    failpoint("watch.after_fetch")
    if not server.is_usable:
        _due(server).update(next_attempt_at=server.expires_at, reason=server.reason)
        return False
    return _ask(server) == WATCH_BATCH_SIZE


def _due(server: WatchedServer) -> WorkQuerySet[AccountWatch]:
    return AccountWatch.objects.filter(server=server).due()


@transaction.atomic
def _leave_other_servers(server: WatchedServer) -> None:
    """Another server is set now: stop hearing the one before."""
    rows = list(
        AccountWatch.objects.select_for_update(of=("self",), skip_locked=True)
        .exclude(server=server)
        .order_by("pk")[:WATCH_BATCH_SIZE]
    )
    if rows:
        _leave_topics([row.response_topic for row in rows])
        forget(Holder.WALLET, [row.topic_of_key_pair for row in rows])
        AccountWatch.objects.filter(pk__in=[row.pk for row in rows]).delete()


def _leave_topics(topics: Collection[str]) -> None:
    left = [topic for topic in topics if topic]
    outbox.unsubscribe(Party.WALLET, left)
    forget(Holder.WALLET, left)


def _renew_signers(server: WatchedServer) -> None:
    """Make watches due whose identity key has been retired; lists to it count no more."""
    active = IdentityKey.objects.active().filter(did=OuterRef("identity_did"))
    AccountWatch.objects.filter(~Exists(active), server=server).exclude(
        identity_did=""
    ).update(identity_did="", **fresh_work())


@transaction.atomic
def _admit(server: WatchedServer) -> None:
    """A row for each account that may ask and does not watch yet."""
    missing = list(
        Account.objects.filter(
            identity_keys__retired_at=None, identity_keys__registered_at__isnull=False
        )
        .exclude(watches__server=server)
        .order_by("pk")
        .values_list("pk", flat=True)
        .distinct()[:WATCH_BATCH_SIZE]
    )
    # Locked: one that is being removed meanwhile must not get a row that its removal
    # does not see, which would make the removal fail.
    accounts = Account.objects.select_for_update(skip_locked=True, no_key=True).filter(
        pk__in=missing
    )
    now = clock.now()
    AccountWatch.objects.bulk_create(
        [
            AccountWatch(
                account=account, server=server, next_attempt_at=now, created_at=now
            )
            for account in accounts
        ],
        ignore_conflicts=True,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    row: AccountWatch
    key_pair: KeyPair
    request: WatchRequest


@transaction.atomic
def _ask(server: WatchedServer) -> int:
    """Ask for what is due, all in one transaction; how many accounts were due."""
    watches = AccountWatch.objects.filter(server=server).select_related("account")
    rows = watches.claim(WATCH_BATCH_SIZE, owner="account__user_id")
    voices = _signers(rows)
    pairs = key_pairs(Holder.WALLET, [row.topic_of_key_pair for row in rows])
    asked = [
        _request(row, server, voices[row.account_id], key_pair=_pair(row, pairs))
        for row in rows
        if row.account_id in voices
    ]
    now = clock.now()
    for row in rows:
        # Asking is writing rows, in this transaction: nothing to hold a lease for.
        row.leased_until = row.leased_by = None
    _stop_watching([row for row in rows if row.account_id not in voices], now)
    _keep_keys(asked)
    for each in asked:
        _note_request(each, now)
    outbox.subscribe(Party.WALLET, [each.row.response_topic for each in asked])
    publish(each.request.publish for each in asked)
    AccountWatch.objects.bulk_update(rows, _ASKED_FIELDS)
    failpoint("watch.before_commit")
    return len(rows)


_ASKED_FIELDS: Final = [
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


def _signers(rows: Sequence[AccountWatch]) -> dict[int, WalletIdentity]:
    """Who asks for each account; who asked before goes on, if it may."""
    found = identity.watching_identities(
        {row.account_id: row.identity_did for row in rows}
    )
    accounts = {row.account_id: row.account for row in rows}
    return {pk: voice(accounts[pk], signer) for pk, signer in found.items()}


def _pair(row: AccountWatch, kept: dict[Topic, KeyPair]) -> KeyPair:
    known = kept.get(Topic(row.topic_of_key_pair))
    return known or KeyPair.from_private(entropy.key_bytes())


def _request(
    row: AccountWatch,
    server: WatchedServer,
    wallet: WalletIdentity,
    *,
    key_pair: KeyPair,
) -> _Asked:
    request = request_watch(
        server.document,
        wallet,
        key_pair=key_pair,
        app=None,
        request_id=clock.payload_id(),
        iv=entropy.iv(),
        now=clock.now_s(),
        # What our own requests change we hear as everybody else does.
        mjv=None,
    )
    return _Asked(row, key_pair, request)


def _keep_keys(asked: Sequence[_Asked]) -> None:
    """New keys into the keychain; what they replace is left and forgotten."""
    replaced = []
    for each in asked:
        row = each.row
        if row.topic_of_key_pair != each.key_pair.topic:
            put_key_pair(Holder.WALLET, each.key_pair, account_id=row.account_id)
        if row.response_topic != each.request.sym_key.topic:
            replaced.append(row.response_topic)
            put_sym_keys(
                Holder.WALLET, [each.request.sym_key], account_id=row.account_id
            )
    _leave_topics(replaced)


def _note_request(asked: _Asked, now: datetime) -> None:
    row, pending = asked.row, asked.request.pending
    row.identity_did = pending.identity_did
    row.server_did = pending.server_did
    row.topic_of_key_pair = asked.key_pair.topic
    row.response_topic = asked.request.sym_key.topic
    row.rpc_id = int(pending.request_id)
    row.requested_at = now
    row.next_attempt_at = now + BACKOFF.delay(row.attempts)


def _stop_watching(rows: Sequence[AccountWatch], now: datetime) -> None:
    """Nobody may ask for these accounts now: what still comes is not for us."""
    _leave_topics([row.response_topic for row in rows])
    for row in rows:
        row.identity_did, row.response_topic, row.rpc_id = "", "", None
        row.reason = NO_IDENTITY
        row.next_attempt_at = now + NO_IDENTITY_BACKOFF.delay(row.attempts)


# --- being told -----------------------------------------------------------------------


def receive_lists(messages: list[Inbound]) -> Declined:
    """Answers to watches, and announcements; in the transaction of the dispatch."""
    declined: dict[int, NotHandled] = {}
    rows = _locked({message.topic for message in messages})
    told: dict[int, Told] = {}
    for message in messages:
        row = rows.get(message.topic)
        try:
            if row is None:
                raise Refused(NOT_WATCHING)
            # Lists are full: of several the last one counts.
            told[row.pk] = Told(row, _read(row, message))
        except NotHandled as reason:
            declined[message.pk] = reason
        except RemoteProtocolError as error:
            declined[message.pk] = Refused(str(error))
            _note_refusal(row, error)
    AccountWatch.objects.bulk_update(rows.values(), _TOLD_FIELDS)
    record_events(apply_server_lists(list(told.values())))
    failpoint("watch.told.before_commit")
    return declined


_TOLD_FIELDS: Final = [
    "list_iat",
    "answered_at",
    "attempts",
    "reason",
    "next_attempt_at",
]


def _locked(topics: set[Topic]) -> dict[str, AccountWatch]:
    """The stores first (syncstore's rule), then the watches."""
    watching = AccountWatch.objects.filter(response_topic__in=topics)
    accounts = set(watching.values_list("account_id", flat=True))
    lock_stores(account_id__in=accounts, name=NOTIFY_SUBSCRIPTION_STORE)
    rows = watching.select_for_update(of=("self",)).select_related("account", "server")
    return {row.response_topic: row for row in rows.order_by("pk")}


def _read(row: AccountWatch, message: Inbound) -> SubscriptionList:
    listed = read_subscriptions(message.payload, row.pending, now=clock.now_s())
    if listed.iat < row.list_iat:
        raise Refused(OUTDATED)
    row.list_iat = listed.iat
    if not isinstance(message.payload, JsonRpcRequest):
        now = clock.now()
        row.answered_at, row.attempts, row.reason = now, 0, ""
        row.next_attempt_at = now + timedelta(
            seconds=entropy.jitter(RENEW_AFTER_S, share=0.1)
        )
    return listed


def _note_refusal(row: AccountWatch | None, error: RemoteProtocolError) -> None:
    """The server says no to our request; it is asked again when that is due."""
    if row is not None and error.code is ErrorCode.REFUSED:
        row.reason = f"The Cast Server says: {error.message}"[:REASON_LENGTH]
