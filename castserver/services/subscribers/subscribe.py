"""Answering ``wc_notifySubscribe``: steps 8 to 13 of the seed, for a batch of requests.

Spec: the seed's "Cast Server"; protocol.md, sections 5.2 and 10.3; reliability.md, item 8.

     8  requests on the subscribe topics of our projects        lock, known answers
     9  opened by the relay's dispatch, verified by the core    identity from the Keys Server
    10  the dapp hears of it                                     webhook rows
    11  key pair Z, fresh                                        never stored: its answer is
    12  key P                                                    keychain, subscriber row
    13  the answer                                               stored and published

All of it is one transaction. An August request gets a topic of its own beside those that
the account has; a later one keeps the account's newest topic and key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import Count

from castserver.models import Project, Subscriber
from castserver.services.notifications.welcome import send_welcome
from castserver.services.projects.identities import dapp_identities
from castserver.services.subscribers import requests
from castserver.services.subscribers.account_state import AccountState, lock_accounts
from castserver.services.subscribers.announcements import note_changes, spelled
from castserver.services.subscribers.requests import (
    Accepted,
    Identities,
    request_of,
    too_many,
)
from castserver.services.subscribers.step_records import record_answer
from castserver.services.subscribers.subscription_list import others_for
from castserver.services.upkeep import drop_topics
from castserver.services.webhooks.webhooks import (
    SubscriberEvent,
    WebhookEvent,
    queue_events,
)
from common import clock, entropy, limits
from common.failpoints import failpoint
from keychain.services import Holder, put_sym_keys, sym_keys
from messaging import outbox
from messaging.dispatch import Inbound, Refused, TryLater
from messaging.models import Party
from walletconnect.crypto.keys import KeyPair
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.authorization import authorization_of
from walletconnect.identity.did import AppUrl
from walletconnect.notify.methods import SUBSCRIBE
from walletconnect.notify.subscribe import SubscribeAnswer, answer_subscription

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from castserver.services.subscribers.account_state import Pair
    from messaging.dispatch import NotHandled
    from walletconnect.crypto.keys import SymKey
    from walletconnect.identity.cacao import Cacao
    from walletconnect.notify.parties import DappIdentity
    from walletconnect.notify.server_subscription import ServerSubscription

NO_PROJECT: Final = "no project has this subscribe topic"
TOO_MANY_TOPICS: Final = "too many requests for this project"
KEYS_CLOSED: Final = "the keys of the project do not open"
CLIENT_LIMIT: Final = "subscribe_client"


@dataclass(slots=True)
class Batch:
    """What a batch of requests reads before, and writes after."""

    projects: Mapping[str, Project]
    dapps: Mapping[str, DappIdentity]
    identities: Identities
    standings: Mapping[Pair, AccountState] = field(default_factory=dict)
    others: Mapping[str, list[ServerSubscription]] = field(default_factory=dict)
    known_keys: dict[str, SymKey] = field(default_factory=dict)
    crowded: set[int] = field(default_factory=set)
    too_often: set[int] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    answers: list[tuple[Inbound, SubscribeAnswer]] = field(default_factory=list)
    made: list[Subscriber] = field(default_factory=list)
    renewed: list[Subscriber] = field(default_factory=list)
    ended: list[Subscriber] = field(default_factory=list)
    events: list[SubscriberEvent] = field(default_factory=list)


def answer_all(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Answer a batch in the caller's transaction; what is left to say about the rest."""
    projects = Project.objects.filter(
        subscribe_topic__in={message.topic for message in messages}
    )
    batch = Batch(
        projects={project.subscribe_topic: project for project in projects},
        dapps=dapp_identities(projects),
        identities=Identities.of(messages, SUBSCRIBE),
    )
    _lock(batch, messages)
    known = requests.answered_before(messages, by_attempt=True)
    requests.send_again(known.values())
    fresh = _once_each([each for each in messages if each.pk not in known])
    _measure(batch, fresh)
    accepted, refused, declined = requests.each_of(
        fresh, lambda message: _answer(batch, message)
    )
    _write(batch, accepted)
    declined |= requests.refuse(refused, fresh, SUBSCRIBE)
    return declined


def _once_each(messages: Iterable[Inbound]) -> list[Inbound]:
    """Of requests that one batch holds twice, the first; its answer serves both."""
    first: dict[tuple[str, str], Inbound] = {}
    for message in messages:
        rpc_id = str(getattr(message.payload, "id", message.pk))
        first.setdefault((message.sym_key.topic, rpc_id), message)
    return list(first.values())


def _lock(batch: Batch, messages: Iterable[Inbound]) -> None:
    """Lock who claims to subscribe, and read where they stand."""
    pairs: set[Pair] = set()
    accounts: dict[str, str] = {}
    for message in messages:
        project = batch.projects.get(message.topic)
        try:
            cacao = batch.identities.cacao_of(message)
        except RemoteProtocolError:
            continue
        if project is not None:
            accounts[batch.identities.claim_of(message).did] = cacao.account.key
            pairs.add((project.pk, cacao.account.key))
    batch.standings = lock_accounts(pairs)
    batch.others = others_for(accounts, set(accounts.values()))
    topics = [
        standing.newest.topic
        for standing in batch.standings.values()
        if standing.newest is not None
    ]
    batch.known_keys = {
        str(topic): key for topic, key in sym_keys(Holder.CAST, topics).items()
    }
    batch.counts = dict(
        Subscriber.objects.live(clock.now())
        .of_accounts({account_key for _, account_key in pairs})
        .values_list("account_key")
        .annotate(count=Count("project_id", distinct=True))
    )


def _measure(batch: Batch, messages: Sequence[Inbound]) -> None:
    """Which requests are beyond the rate of their project, or of their identity key."""
    by_project = limits.consume_all(
        "subscribe_project", [each.topic for each in messages]
    )
    claimed = [each for each in messages if each.pk in batch.identities.claims]
    # Looked at only: a forger who names somebody's key must not use up what is theirs.
    by_client = limits.consume_all(
        CLIENT_LIMIT, [batch.identities.claims[each.pk].did for each in claimed], cost=0
    )
    batch.crowded = {
        message.pk
        for message, verdict in zip(messages, by_project, strict=True)
        if not verdict.allowed
    }
    batch.too_often = {
        message.pk
        for message, verdict in zip(claimed, by_client, strict=True)
        if verdict.remaining < 1
    }


# --- one request ----------------------------------------------------------------------


def _answer(batch: Batch, message: Inbound) -> Accepted:
    project = batch.projects.get(message.topic)
    public_key_y = message.sender_public_key
    if project is None or public_key_y is None:
        raise Refused(NO_PROJECT)
    if message.pk in batch.crowded:
        # Unanswered: a flood must not make us publish as much as it does.
        raise Refused(TOO_MANY_TOPICS)
    dapp = batch.dapps.get(project.pk)
    if dapp is None:
        raise TryLater(KEYS_CLOSED)
    cacao = batch.identities.cacao_of(message)
    if message.pk in batch.too_often:
        raise too_many()
    standing = batch.standings[project.pk, cacao.account.key]
    newest = standing.newest
    answer = answer_subscription(
        request_of(message),
        dapp,
        topic=message.topic,
        public_key_y=public_key_y,
        identity=cacao,
        key_pair_z=KeyPair.from_private(entropy.key_bytes()),
        iv=entropy.iv(),
        now=clock.now_s(),
        is_new=newest is None,
        last_delete_iat=standing.last_delete_iat,
        known_sym_key=batch.known_keys.get(newest.topic) if newest else None,
        others=_others(batch, message, dapp),
    )
    _check(batch, answer, cacao, is_new=newest is None)
    subscriber = _settle(batch, project, answer=answer, message=message)
    batch.answers.append((message, answer))
    return Accepted(message, answer.publish, project.pk, subscriber)


def _others(
    batch: Batch, message: Inbound, dapp: DappIdentity
) -> list[ServerSubscription]:
    did = batch.identities.claim_of(message).did
    told = [
        each for each in batch.others.get(did, []) if each.app_domain != dapp.url.domain
    ]
    return spelled(told, batch.identities.cacao_of(message).account)


def _check(
    batch: Batch, answer: SubscribeAnswer, cacao: Cacao, *, is_new: bool
) -> None:
    if answer.is_v1:
        domain = AppUrl.of_did(answer.app).domain
        authorization_of(cacao).require(domain)
    if len(answer.scope) > settings.LIMITS.scopes_per_subscription:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, "too many types")
    key = answer.account.key
    if is_new:
        count = batch.counts.get(key, 0)
        if count >= settings.LIMITS.subscriptions_per_account:
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, "too many subscriptions")
        batch.counts[key] = count + 1


def _settle(
    batch: Batch, project: Project, *, answer: SubscribeAnswer, message: Inbound
) -> Subscriber:
    """The subscriber row, new or renewed, and what becomes of the ones before."""
    standing = batch.standings[project.pk, answer.account.key]
    newest = standing.newest
    if newest is not None and newest.topic == answer.notify_topic:
        row = newest
        if row not in batch.made:
            batch.renewed.append(row)
    else:
        row = Subscriber(
            project=project,
            topic=answer.notify_topic,
            account_key=answer.account.key,
            created_at=clock.now(),
        )
        batch.made.append(row)
        batch.known_keys[row.topic] = answer.sym_key_p
        standing.live.append(row)
    row.account = str(answer.account)
    row.scope = list(answer.scope)
    row.app = answer.app
    row.expires_at = datetime.fromtimestamp(answer.expiry, UTC)
    row.subscription_hash = answer.subscription_hash
    row.last_iat = answer.iat
    row.last_word_at = clock.now()
    row.identity_did = batch.identities.claim_of(message).did
    row.is_later_generation = answer.is_v1
    if len(standing.live) > settings.LIMITS.topics_per_subscriber:
        batch.ended.append(standing.live.pop(0))
    if answer.webhook is not None:
        batch.events.append(
            SubscriberEvent(
                project_id=project.pk,
                dapp_url=answer.webhook.dapp_url,
                event=WebhookEvent.SUBSCRIBED,
                account=str(answer.account),
            )
        )
    return row


# --- what is written ------------------------------------------------------------------


RENEWED_COLUMNS: Final = (
    "account",
    "scope",
    "app",
    "expires_at",
    "subscription_hash",
    "last_iat",
    "last_word_at",
    "identity_did",
    "is_later_generation",
)


def _write(batch: Batch, accepted: Sequence[Accepted]) -> None:
    if not accepted:
        return
    limits.consume_all(
        CLIENT_LIMIT, [batch.identities.claim_of(each.message).did for each in accepted]
    )
    failpoint("subscribe.12.before_rows")
    put_sym_keys(Holder.CAST, [answer.sym_key_p for _, answer in batch.answers])
    Subscriber.objects.bulk_create(batch.made)
    Subscriber.objects.bulk_update(
        {row.pk: row for row in batch.renewed}.values(), RENEWED_COLUMNS
    )
    outbox.subscribe(Party.CAST, [each.topic for each in batch.made])
    _end(batch.ended)
    queued = queue_events(batch.events)
    requests.keep_answers(accepted)
    newcomers = [
        each.subscriber
        for each, (_, answer) in zip(accepted, batch.answers, strict=True)
        if answer.webhook is not None and each.subscriber is not None
    ]
    send_welcome(newcomers)
    record_answer(batch.answers, webhook_count=len(queued))
    note_changes(
        (subscriber, subscriber.identity_did)
        for subscriber in (each.subscriber for each in accepted)
        if subscriber is not None
    )
    failpoint("subscribe.13.before_commit")


def _end(ended: Sequence[Subscriber]) -> None:
    if not ended:
        return
    Subscriber.objects.filter(pk__in=[each.pk for each in ended]).update(
        deleted_at=clock.now(), delete_reason="replaced by newer topics"
    )
    drop_topics([each.topic for each in ended])
