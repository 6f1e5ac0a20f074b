"""Answering ``wc_notifyWatchSubscriptions``: a device subscribes to changes of the list.

One watcher per identity key, for a day; a new request of the same key replaces it. The answer
lists the account's subscriptions with their keys, so the core requires that the account
authorized the key for all apps, or for the one that it watches.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import Count

from castserver.models import Watcher
from castserver.services.projects.identities import notify_server
from castserver.services.subscribers import requests
from castserver.services.subscribers.requests import (
    Accepted,
    Identities,
    request_of,
    too_many,
)
from castserver.services.subscribers.subscription_list import (
    subscriptions_of,
    with_account,
)
from common import clock, entropy, limits
from keychain.services import Holder, forget, put_sym_keys
from messaging.dispatch import Refused, TryLater
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify import watch
from walletconnect.notify.methods import WATCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from messaging.dispatch import Inbound, NotHandled

NO_SENDER: Final = "a watch request must be a type 1 envelope"
# An account's watchers of all apps together are at most this many times the limit for one.
MAX_APPS: Final = 20
KEYS_CLOSED: Final = "the keys of the Cast Server cannot be opened"


def answer_all(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Answer a batch in the caller's transaction; returns what could not be handled."""
    server = notify_server()
    if server is None:
        return {message.pk: TryLater(KEYS_CLOSED) for message in messages}
    earlier = requests.answered_before(messages)
    requests.send_again(earlier.values())
    fresh = [each for each in messages if each.pk not in earlier]
    identities = Identities.of(fresh, WATCH)
    account_keys = {cacao.account.key for cacao in identities.known.values()}
    live = Watcher.objects.live(clock.now()).filter(account_key__in=account_keys)
    counts = Counter(
        {
            (account_key, app_domain): count
            for account_key, app_domain, count in live.order_by()
            .values_list("account_key", "app_domain")
            .annotate(Count("id"))
        }
    )
    topic_before = dict(
        Watcher.objects.filter(identity_did__in=list(identities.known)).values_list(
            "identity_did", "response_topic"
        )
    )
    lists = subscriptions_of(account_keys)
    verdicts = limits.consume_all("notify_list", [each.sym_key.topic for each in fresh])
    limited = {
        message.pk
        for message, verdict in zip(fresh, verdicts, strict=True)
        if not verdict.allowed
    }
    watchers: dict[str, watch.Watcher] = {}

    def decide(message: Inbound) -> Accepted:
        if message.pk in limited:
            raise too_many()
        if message.sender_public_key is None:
            raise Refused(NO_SENDER)
        cacao = identities.cacao_of(message)
        answer = watch.answer_watch(
            request_of(message),
            server,
            topic=message.topic,
            sender_public_key=message.sender_public_key,
            identity=cacao,
            subscriptions=with_account(lists.get(cacao.account.key, []), cacao.account),
            iv=entropy.iv(),
            now=clock.now_s(),
        )
        watcher = answer.watcher
        if watcher.identity_did not in {*topic_before, *watchers}:
            _require_room(counts, watcher)
            counts[watcher.account.key, watcher.domain or ""] += 1
        watchers[watcher.identity_did] = watcher
        return Accepted(message, answer.publish, None)

    accepted, refused, declined = requests.each_of(fresh, decide)
    if watchers:
        _store(watchers, topic_before)
    requests.store_answers(accepted)
    return declined | requests.refuse(refused, fresh, WATCH)


def _require_room(counts: Counter[tuple[str, str]], watcher: watch.Watcher) -> None:
    """Refuse one watcher too many, for its app or for the account.

    For each app, because every dapp may embed a client of its own: those of 25 dapps
    must not keep the account's wallets from watching.
    """
    maximum = settings.LIMITS.watchers_per_account
    key = watcher.account.key
    total = sum(
        count for (account_key, _), count in counts.items() if account_key == key
    )
    if counts[key, watcher.domain or ""] >= maximum or total >= MAX_APPS * maximum:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, "too many watchers")


def _store(watchers: dict[str, watch.Watcher], topic_before: dict[str, str]) -> None:
    """Insert or replace the watchers, and forget the keys of replaced topics."""
    now = clock.now()
    Watcher.objects.bulk_create(
        [
            Watcher(
                account=str(each.account),
                account_key=each.account.key,
                identity_did=did,
                app_domain=each.domain or "",
                response_topic=each.topic,
                mjv=each.mjv or "",
                expires_at=datetime.fromtimestamp(each.expires_at, UTC),
                created_at=now,
            )
            for did, each in watchers.items()
        ],
        update_conflicts=True,
        unique_fields=["identity_did"],
        update_fields=[
            "account",
            "account_key",
            "app_domain",
            "response_topic",
            "mjv",
            "expires_at",
        ],
    )
    put_sym_keys(Holder.CAST, [each.sym_key for each in watchers.values()])
    replaced = {topic_before[did] for did in watchers if did in topic_before}
    forget(Holder.CAST, replaced - {str(each.topic) for each in watchers.values()})
