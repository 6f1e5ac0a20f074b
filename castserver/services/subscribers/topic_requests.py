"""Requests on a notify topic: whose it is, in which standing, with which keys.

Spec: protocol.md, sections 5.6 and 10.3. Updates, deletes and the later generation's reads
start alike: the subscriber by its topic, its dapp's keys, the claimed identity, and a lock
of the account at the dapp. A topic that nobody has any more is silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from castserver.models import Subscriber
from castserver.services.projects.identities import dapp_identities
from castserver.services.subscribers.account_state import lock_accounts
from castserver.services.subscribers.announcements import spelled
from castserver.services.subscribers.requests import Identities, request_of, too_many
from castserver.services.subscribers.subscription_list import others_for
from common import limits
from messaging.dispatch import Refused, TryLater
from walletconnect.identity.did import AccountId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from castserver.services.subscribers.account_state import AccountState, Pair
    from messaging.dispatch import Inbound
    from walletconnect.identity.cacao import Cacao
    from walletconnect.notify.parties import DappIdentity
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.relay.methods import Method
    from walletconnect.relay.rpc import JsonRpcRequest

NOT_SUBSCRIBED: Final = "nobody is subscribed on this topic"
KEYS_CLOSED: Final = "the keys of the project do not open"


@dataclass(frozen=True, slots=True)
class TopicRequest:
    """One request, with all that is needed to judge it."""

    message: Inbound
    request: JsonRpcRequest
    subscriber: Subscriber
    standing: AccountState
    dapp: DappIdentity
    cacao: Cacao
    identity_did: str
    others: list[ServerSubscription]

    @property
    def account(self) -> AccountId:
        return AccountId.parse(self.subscriber.account)


@dataclass(frozen=True, slots=True)
class TopicBatch:
    """What a batch of requests on notify topics reads, in a fixed number of queries."""

    rows: Mapping[str, Subscriber]
    standings: Mapping[Pair, AccountState]
    dapps: Mapping[str, DappIdentity]
    identities: Identities
    others: Mapping[str, list[ServerSubscription]]
    too_often: frozenset[int]

    @classmethod
    def of(
        cls, messages: Sequence[Inbound], method: Method, *, limit: str
    ) -> TopicBatch:
        """Read and lock in the caller's transaction. ``limit`` names the topic's rate."""
        rows = list(
            Subscriber.objects.select_related("project").filter(
                topic__in={message.topic for message in messages}
            )
        )
        pairs = {(row.project_id, row.account_key) for row in rows}
        standings = lock_accounts(pairs)
        projects = {row.project_id: row.project for row in rows}
        identities = Identities.of(messages, method)
        verdicts = limits.consume_all(limit, [message.topic for message in messages])
        return cls(
            # As they are under the lock, and one object per row with its project.
            rows={
                row.topic: _with_project(row, projects)
                for standing in standings.values()
                for row in standing.live
            },
            standings=standings,
            dapps=dapp_identities(projects.values()),
            identities=identities,
            others=others_for(
                {claim.did for claim in identities.claims.values()},
                {row.account_key for row in rows},
            ),
            too_often=frozenset(
                message.pk
                for message, verdict in zip(messages, verdicts, strict=True)
                if not verdict.allowed
            ),
        )

    def request(self, message: Inbound) -> TopicRequest:
        """The request in ``message``, or why there is none that could be judged."""
        subscriber = self.rows.get(message.topic)
        if subscriber is None:
            raise Refused(NOT_SUBSCRIBED)
        standing = self.standings[subscriber.project_id, subscriber.account_key]
        if subscriber not in standing.live:
            raise Refused(NOT_SUBSCRIBED)
        dapp = self.dapps.get(subscriber.project_id)
        if dapp is None:
            raise TryLater(KEYS_CLOSED)
        if message.pk in self.too_often:
            raise too_many()
        did = self.identities.claim_of(message).did
        account = AccountId.parse(subscriber.account)
        others = [
            each
            for each in self.others.get(did, [])
            if each.app_domain != dapp.url.domain and each.account.same_as(account)
        ]
        return TopicRequest(
            message=message,
            request=request_of(message),
            subscriber=subscriber,
            standing=standing,
            dapp=dapp,
            cacao=self.identities.cacao_of(message),
            identity_did=did,
            others=spelled(others, account),
        )


def _with_project(row: Subscriber, projects: Mapping[str, object]) -> Subscriber:
    row.project = projects[row.project_id]  # type: ignore[assignment]  # it is its own
    return row
