"""Answering ``wc_notifySubscribe``: steps 8 to 13 (docs/protocol.md), for a batch.

     8  receive on the subscribe topics of our projects     lock, earlier answers
     9  decrypt and verify                                  the core, with the CACAO
    10  notify the dapp                                     webhook rows
    11  generate key pair Z                                 not stored: the answer is
    12  derive key P                                        keychain, subscriber row
    13  respond                                             stored and published

One transaction. A v0 request gets a topic of its own beside those that the account has,
because its key P comes from fresh keys; a v1 request keeps the account's newest topic and key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import Count

from castserver.models import Project, ProjectKeys, Subscriber
from castserver.services.notifications.welcome import send_welcome
from castserver.services.projects.address_proof import ask_check
from castserver.services.projects.identities import dapp_identities
from castserver.services.subscribers import requests
from castserver.services.subscribers.account_state import AccountState, lock_accounts
from castserver.services.subscribers.announcements import note_changes
from castserver.services.subscribers.requests import (
    Accepted,
    Identities,
    request_of,
    too_many,
)
from castserver.services.subscribers.step_records import record_answers
from castserver.services.subscribers.subscription_list import (
    others_for,
    with_account,
)
from castserver.services.upkeep import drop_topics
from castserver.services.webhooks.webhooks import (
    SubscriberEvent,
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
from walletconnect.notify.methods import SUBSCRIBE
from walletconnect.notify.parties import require_newer
from walletconnect.notify.subscribe import SubscribeAnswer, answer_subscription

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from castserver.services.subscribers.account_state import Pair
    from messaging.dispatch import NotHandled
    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.parties import DappIdentity
    from walletconnect.notify.server_subscription import ServerSubscription

NO_PROJECT: Final = "no project has this subscribe topic"
PROJECT_LIMITED: Final = "too many requests for this project"
KEYS_CLOSED: Final = "the keys of the project cannot be opened"
CLIENT_LIMIT: Final = "subscribe_client"


@dataclass(slots=True)
class _Batch:
    """What the answers depend on, and the rows that they make."""

    projects: Mapping[str, Project]
    dapps: Mapping[str, DappIdentity]
    identities: Identities
    states: Mapping[Pair, AccountState]
    others: Mapping[str, list[ServerSubscription]]
    # Key P by topic: of the newest topic of each account.
    keys: dict[str, SymKey]
    # Subscriptions by account, over all dapps.
    counts: dict[str, int]
    limited_by_project: set[int]
    limited_by_client: set[int]

    answers: list[tuple[Inbound, SubscribeAnswer]] = field(default_factory=list)
    created: list[Subscriber] = field(default_factory=list)
    renewed: dict[int, Subscriber] = field(default_factory=dict)
    ended: list[Subscriber] = field(default_factory=list)
    events: list[SubscriberEvent] = field(default_factory=list)


def answer_all(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Answer a batch in the caller's transaction; returns what could not be handled."""
    topics = {message.topic for message in messages}
    projects = {
        project.subscribe_topic: project
        for project in Project.objects.filter(subscribe_topic__in=topics)
    }
    if topics - projects.keys():
        replaced = ProjectKeys.objects.filter(subscribe_topic__in=topics)
        for row in replaced.select_related("project"):
            projects[row.subscribe_topic] = row.project
            if row.state == ProjectKeys.State.NEXT:
                # The domain has published them: a wallet has read it there.
                ask_check(row.project)
    identities = Identities.of(messages, SUBSCRIBE)
    pairs: set[Pair] = set()
    accounts: dict[str, str] = {}
    for message in messages:
        project = projects.get(message.topic)
        cacao = identities.found(message)
        if project is not None and cacao is not None:
            accounts[identities.claim_of(message).did] = cacao.account.key
            pairs.add((project.pk, cacao.account.key))
    states = lock_accounts(pairs)
    earlier = requests.answered_before(messages, by_attempt=True)
    requests.send_again(earlier.values())

    # Of a request that the batch holds twice, the first: its answer serves both.
    first: dict[tuple[str, str], Inbound] = {}
    for message in messages:
        if message.pk not in earlier:
            rpc_id = str(getattr(message.payload, "id", message.pk))
            first.setdefault((message.sym_key.topic, rpc_id), message)
    fresh = list(first.values())
    claimed = [each for each in fresh if each.pk in identities.claims]
    by_project = limits.consume_all("subscribe_project", [each.topic for each in fresh])
    # Cost 0: what is claimed is not proven yet, and a forger who names a foreign key
    # must not use up that key's rate. Accepted requests are charged below.
    by_client = limits.consume_all(
        CLIENT_LIMIT, [identities.claims[each.pk].did for each in claimed], cost=0
    )
    newest = [state.newest.topic for state in states.values() if state.newest]
    batch = _Batch(
        projects=projects,
        dapps=dapp_identities(projects.values()),
        identities=identities,
        states=states,
        others=others_for(accounts, set(accounts.values())),
        keys={str(topic): key for topic, key in sym_keys(Holder.CAST, newest).items()},
        counts=dict(
            Subscriber.objects.live(clock.now())
            .of_accounts({account_key for _, account_key in pairs})
            .values_list("account_key")
            .annotate(count=Count("project_id", distinct=True))
        ),
        limited_by_project={
            message.pk
            for message, verdict in zip(fresh, by_project, strict=True)
            if not verdict.allowed
        },
        limited_by_client={
            message.pk
            for message, verdict in zip(claimed, by_client, strict=True)
            if verdict.remaining < 1
        },
    )
    accepted, refused, declined = requests.each_of(
        fresh, lambda message: _answer(batch, message)
    )
    if accepted:
        _store(batch, accepted)
    return declined | requests.refuse(refused, fresh, SUBSCRIBE)


def _answer(batch: _Batch, message: Inbound) -> Accepted:
    """Steps 8 to 13 of one request; the rows are stored with those of the batch."""
    project = batch.projects.get(message.topic)
    public_key_y = message.sender_public_key
    if project is None or public_key_y is None:
        raise Refused(NO_PROJECT)
    if message.pk in batch.limited_by_project:
        # Unanswered: a flood must not make us publish as much as it does.
        raise Refused(PROJECT_LIMITED)
    dapp = batch.dapps.get(project.pk)
    if dapp is None:
        raise TryLater(KEYS_CLOSED)
    dapp = dapp.on_topic(message.topic)
    cacao = batch.identities.cacao_of(message)
    identity_did = batch.identities.claim_of(message).did
    if message.pk in batch.limited_by_client:
        raise too_many()
    state = batch.states[project.pk, cacao.account.key]
    newest = state.newest
    others = [
        each
        for each in batch.others.get(identity_did, [])
        if each.app_domain != dapp.url.domain
    ]
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
        last_delete_iat=state.last_delete_iat,
        known_sym_key=batch.keys.get(newest.topic) if newest else None,
        others=with_account(others, cacao.account),
    )
    if len(answer.scope) > settings.LIMITS.scopes_per_subscription:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, "too many types")
    account_key = answer.account.key
    if newest is None:
        count = batch.counts.get(account_key, 0)
        if count >= settings.LIMITS.subscriptions_per_account:
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, "too many subscriptions")
        batch.counts[account_key] = count + 1

    if newest is not None and newest.topic == answer.notify_topic:
        row = newest
        is_own = row.identity_did == identity_did
        # A device's own clock orders its requests.
        require_newer(answer.iat, row.last_iat if is_own else None)
        if row.pk is not None:
            batch.renewed[row.pk] = row
    else:
        row = Subscriber(
            project=project,
            topic=answer.notify_topic,
            account_key=account_key,
            subscribe_iat=min(answer.iat, clock.now_s()),
            created_at=clock.now(),
        )
        batch.created.append(row)
        batch.keys[row.topic] = answer.sym_key_p
        state.add(row)
    row.account = str(answer.account)
    row.renew(answer, identity_did=identity_did)
    if len(state.live) > settings.LIMITS.topics_per_subscriber:
        # Not the one that is answered now, even if its request was long on its way.
        oldest = next(each for each in state.live if each is not row)
        state.live.remove(oldest)
        batch.ended.append(oldest)
    if answer.webhook is not None:
        batch.events.append(
            SubscriberEvent(
                project_id=project.pk,
                dapp_url=project.url,
                event=answer.webhook,
                account=row.account,
            )
        )
    batch.answers.append((message, answer))
    return Accepted(message, answer.publish, project.pk, row)


def _store(batch: _Batch, accepted: Sequence[Accepted]) -> None:
    limits.consume_all(
        CLIENT_LIMIT, [batch.identities.claim_of(each.message).did for each in accepted]
    )
    failpoint("subscribe.12.before_rows")
    put_sym_keys(Holder.CAST, [answer.sym_key_p for _, answer in batch.answers])
    Subscriber.objects.bulk_create(batch.created)
    Subscriber.objects.bulk_update(
        batch.renewed.values(), ["account", *Subscriber.RENEWED]
    )
    outbox.subscribe(Party.CAST, [each.topic for each in batch.created])
    if batch.ended:
        Subscriber.objects.filter(pk__in=[each.pk for each in batch.ended]).update(
            deleted_at=clock.now(), delete_reason="replaced by newer topics"
        )
        drop_topics([each.topic for each in batch.ended])
    queued = queue_events(batch.events)
    requests.store_answers(accepted)
    rows = [each.subscriber for each in accepted if each.subscriber is not None]
    send_welcome(
        [
            row
            for row, (_, answer) in zip(rows, batch.answers, strict=True)
            if answer.webhook is not None
        ]
    )
    record_answers(batch.answers, webhook_count=len(queued))
    note_changes((row, row.identity_did) for row in rows)
    failpoint("subscribe.13.before_commit")
