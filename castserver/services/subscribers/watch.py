"""Answering ``wc_notifyWatchSubscriptions``: a device asks to be told, from now on.

protocol.md, section 10.3. One watcher per identity key, a day long; a new watch of the same
key replaces it. The answer lists the account's subscriptions, keys included, so it is
given only to a key that the account authorised for all apps, or for this one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import Count

from castserver.models import Watcher
from castserver.services.projects.identities import notify_server
from castserver.services.subscribers import requests
from castserver.services.subscribers.announcements import spelled
from castserver.services.subscribers.requests import (
    Accepted,
    Identities,
    request_of,
    too_many,
)
from castserver.services.subscribers.subscription_list import subscriptions_of
from common import clock, entropy, limits
from keychain.services import Holder, forget, put_sym_keys
from messaging.dispatch import Refused, TryLater
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.methods import WATCH
from walletconnect.notify.watch import WatchAnswer, answer_watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from messaging.dispatch import Inbound, NotHandled
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.notify.watch import NotifyServer

NO_SENDER: Final = "a watch request comes in a type 1 envelope"
KEYS_CLOSED: Final = "the keys of the Cast Server do not open"


def answer_all(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Answer a batch in the caller's transaction; what is left to say about the rest."""
    server = notify_server()
    if server is None:
        return {message.pk: TryLater(KEYS_CLOSED) for message in messages}
    known = requests.answered_before(messages)
    requests.send_again(known.values())
    fresh = [each for each in messages if each.pk not in known]
    identities = Identities.of(fresh, WATCH)
    watching = _Watching.read(identities)
    verdicts = limits.consume_all("notify_list", [each.sym_key.topic for each in fresh])
    too_often = {
        message.pk
        for message, verdict in zip(fresh, verdicts, strict=True)
        if not verdict.allowed
    }

    def decide(message: Inbound) -> Accepted:
        if message.pk in too_often:
            raise too_many()
        answer = _answer(message, server, identities=identities, told=watching.told)
        watching.add(answer)
        return Accepted(message, answer.publish, None)

    accepted, refused, declined = requests.each_of(fresh, decide)
    watching.write()
    requests.keep_answers(accepted)
    return declined | requests.refuse(refused, fresh, WATCH)


def _answer(
    message: Inbound,
    server: NotifyServer,
    *,
    identities: Identities,
    told: Mapping[str, list[ServerSubscription]],
) -> WatchAnswer:
    if message.sender_public_key is None:
        raise Refused(NO_SENDER)
    cacao = identities.cacao_of(message)
    return answer_watch(
        request_of(message),
        server,
        topic=message.topic,
        sender_public_key=message.sender_public_key,
        identity=cacao,
        subscriptions=spelled(told.get(cacao.account.key, []), cacao.account),
        iv=entropy.iv(),
        now=clock.now_s(),
    )


class _Watching:
    """The watchers of the accounts in a batch, as they are and as they become."""

    def __init__(
        self,
        counts: dict[str, int],
        before: dict[str, str],
        told: Mapping[str, list[ServerSubscription]],
    ) -> None:
        self._counts = counts
        self._topic_before = before
        self._added: dict[str, WatchAnswer] = {}
        self.told = told

    @classmethod
    def read(cls, identities: Identities) -> _Watching:
        account_keys = {cacao.account.key for cacao in identities.known.values()}
        live = Watcher.objects.live(clock.now()).filter(account_key__in=account_keys)
        counts = live.order_by().values_list("account_key").annotate(Count("id"))
        before = Watcher.objects.filter(
            identity_did__in=list(identities.known)
        ).values_list("identity_did", "response_topic")
        return cls(dict(counts), dict(before), subscriptions_of(account_keys))

    def add(self, answer: WatchAnswer) -> None:
        watcher = answer.watcher
        key = watcher.account.key
        if watcher.identity_did not in {*self._topic_before, *self._added}:
            if self._counts.get(key, 0) >= settings.LIMITS.watchers_per_account:
                raise RemoteProtocolError(ErrorCode.TOO_LARGE, "too many watchers")
            self._counts[key] = self._counts.get(key, 0) + 1
        self._added[watcher.identity_did] = answer

    def write(self) -> None:
        if not self._added:
            return
        watchers = [answer.watcher for answer in self._added.values()]
        now = clock.now()
        Watcher.objects.bulk_create(
            [
                Watcher(
                    account=str(each.account),
                    account_key=each.account.key,
                    identity_did=each.identity_did,
                    app_domain=each.domain or "",
                    response_topic=each.topic,
                    mjv=each.mjv or "",
                    expires_at=datetime.fromtimestamp(each.expires_at, UTC),
                    created_at=now,
                )
                for each in watchers
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
        put_sym_keys(Holder.CAST, [each.sym_key for each in watchers])
        topics = {str(each.topic) for each in watchers}
        replaced = {
            self._topic_before[each.identity_did]
            for each in watchers
            if each.identity_did in self._topic_before
        }
        forget(Holder.CAST, replaced - topics)
