"""Requests on a notify topic: updates, deletes, reads and marks.

They begin alike: the subscriber by its topic, its dapp's keys, the claimed identity, and a
lock of the account at the dapp. Requests on topics that have ended are dropped unanswered:
there is no key left to sign an answer that the wallet would accept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from castserver.models import Subscriber
from castserver.services.projects.identities import dapp_identities
from castserver.services.subscribers.account_state import lock_accounts
from castserver.services.subscribers.requests import Identities, request_of, too_many
from castserver.services.subscribers.subscription_list import (
    others_for,
    with_account,
)
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

NOT_SUBSCRIBED: Final = "no subscription has this topic"
KEYS_CLOSED: Final = "the keys of the project cannot be opened"


@dataclass(frozen=True, slots=True)
class TopicRequest:
    """One request, with everything that the answer depends on."""

    message: Inbound
    request: JsonRpcRequest
    subscriber: Subscriber
    state: AccountState
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
    states: Mapping[Pair, AccountState]
    dapps: Mapping[str, DappIdentity]
    identities: Identities
    others: Mapping[str, list[ServerSubscription]]
    limited: frozenset[int]

    @classmethod
    def of(
        cls, messages: Sequence[Inbound], method: Method, *, limit: str
    ) -> TopicBatch:
        """Read and lock in the caller's transaction; ``limit`` is the rate per topic."""
        rows = list(
            Subscriber.objects.select_related("project").filter(
                topic__in={message.topic for message in messages}
            )
        )
        states = lock_accounts({(row.project_id, row.account_key) for row in rows})
        projects = {row.project_id: row.project for row in rows}
        live: dict[str, Subscriber] = {}
        for state in states.values():
            for row in state.live:
                row.project = projects[row.project_id]
                live[row.topic] = row
        identities = Identities.of(messages, method)
        verdicts = limits.consume_all(limit, [message.topic for message in messages])
        return cls(
            # Not ``rows``: another transaction may have changed those before the lock.
            rows=live,
            states=states,
            dapps=dapp_identities(projects.values()),
            identities=identities,
            others=others_for(
                {claim.did for claim in identities.claims.values()},
                {row.account_key for row in rows},
            ),
            limited=frozenset(
                message.pk
                for message, verdict in zip(messages, verdicts, strict=True)
                if not verdict.allowed
            ),
        )

    def request(self, message: Inbound) -> TopicRequest:
        """The request in ``message``; raises the reason why it cannot be answered."""
        subscriber = self.rows.get(message.topic)
        if subscriber is None:
            raise Refused(NOT_SUBSCRIBED)
        state = self.states[subscriber.project_id, subscriber.account_key]
        if subscriber not in state.live:
            # Ended by an earlier request of the same batch.
            raise Refused(NOT_SUBSCRIBED)
        dapp = self.dapps.get(subscriber.project_id)
        if dapp is None:
            raise TryLater(KEYS_CLOSED)
        if message.pk in self.limited:
            raise too_many()
        claim = self.identities.claim_of(message)
        did = claim.did
        dapp = dapp.addressed_by(claim.aud)
        cacao = self.identities.cacao_of(message)
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
            state=state,
            dapp=dapp,
            cacao=cacao,
            identity_did=did,
            # As the device writes its account, which may be on another chain.
            others=with_account(others, cacao.account),
        )
