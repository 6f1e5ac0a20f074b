"""What requests of wallets share: claimed identities, stored answers, error answers.

A request is answered once. The bytes of the answer are stored, and the same request gets
the same bytes again. A refused request changes nothing and gets an error answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from castserver.models import Answer
from castserver.services.projects.identities import allowed_keys_servers
from castserver.services.publications import publish_all
from common import clock, entropy
from identity.services import (
    KeysServerUnavailable,
    known_identities,
    resolve_identity,
)
from messaging.dispatch import Refused, TryLater
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.answers import publish_error
from walletconnect.notify.parties import ClaimedIdentity, claimed_identity
from walletconnect.relay.messages import Publication
from walletconnect.relay.rpc import JsonRpcRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from castserver.models import Subscriber
    from messaging.dispatch import Inbound, NotHandled
    from walletconnect.identity.cacao import Cacao
    from walletconnect.relay.methods import Method

NOT_A_REQUEST = "not a request"
KEYS_SERVER_PENDING = "a Keys Server has not answered yet"


def too_many() -> RemoteProtocolError:
    """A rate limit is reached; the same request may be accepted later."""
    return RemoteProtocolError(ErrorCode.REFUSED, "too many requests, try again later")


# --- before the transaction -----------------------------------------------------------


def look_up(messages: Iterable[Inbound], method: Method) -> dict[int, NotHandled]:
    """Fetch the claimed identities; returns the requests that have to wait for them.

    Outside the transaction, because a Keys Server may take seconds.
    """
    claims, _ = _read_claims(messages, method)
    return look_up_claims(claims)


def look_up_claims(claims: Mapping[int, ClaimedIdentity]) -> dict[int, NotHandled]:
    wanted = {(claim.did, claim.keys_server_url) for claim in claims.values()}
    if not wanted:
        return {}
    try:
        resolve_identity(sorted(wanted))
    except KeysServerUnavailable as error:
        return {
            pk: TryLater(KEYS_SERVER_PENDING)
            for pk, claim in claims.items()
            if claim.did in error.unresolved
        }
    return {}


def _read_claims(
    messages: Iterable[Inbound], method: Method
) -> tuple[dict[int, ClaimedIdentity], dict[int, RemoteProtocolError]]:
    allowed = allowed_keys_servers()
    found: dict[int, ClaimedIdentity] = {}
    faults: dict[int, RemoteProtocolError] = {}
    for message in messages:
        if not isinstance(message.payload, JsonRpcRequest):
            faults[message.pk] = RemoteProtocolError(ErrorCode.MALFORMED, NOT_A_REQUEST)
            continue
        try:
            found[message.pk] = claimed_identity(
                message.payload, method, allowed=allowed
            )
        except RemoteProtocolError as error:
            faults[message.pk] = error
    return found, faults


def request_of(message: Inbound) -> JsonRpcRequest:
    if not isinstance(message.payload, JsonRpcRequest):
        raise Refused(NOT_A_REQUEST)
    return message.payload


# --- inside it ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identities:
    """The identity that each message claims, unproven, and the CACAOs of those."""

    claims: Mapping[int, ClaimedIdentity]
    known: Mapping[str, Cacao]
    faults: Mapping[int, RemoteProtocolError]

    @classmethod
    def of(cls, messages: Iterable[Inbound], method: Method) -> Identities:
        claims, faults = _read_claims(messages, method)
        dids = {claim.did for claim in claims.values()}
        return cls(claims, known_identities(dids), faults)

    def claim_of(self, message: Inbound) -> ClaimedIdentity:
        """The identity that the request names; raises what is wrong with the request."""
        if message.pk in self.faults:
            raise self.faults[message.pk]
        return self.claims[message.pk]

    def found(self, message: Inbound) -> Cacao | None:
        """The CACAO of the claimed identity, if there is one."""
        claim = self.claims.get(message.pk)
        return None if claim is None else self.known.get(claim.did)

    def cacao_of(self, message: Inbound) -> Cacao:
        """As ``found``; raises if the request is malformed or the identity unknown."""
        cacao = self.known.get(self.claim_of(message).did)
        if cacao is None:
            raise RemoteProtocolError(
                ErrorCode.UNAUTHENTIC, "the key server does not know the identity key"
            )
        return cacao


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that was accepted, and its answer."""

    message: Inbound
    publish: Publication
    project_id: str | None
    subscriber: Subscriber | None = None


def store_answers(accepted: Sequence[Accepted]) -> None:
    """Store the answers and publish them, in the caller's transaction."""
    now = clock.now()
    Answer.objects.bulk_create(
        [
            Answer(
                project_id=each.project_id,
                request_topic=each.message.topic,
                request_message_id=each.message.message_id,
                response_topic=each.publish.topic,
                rpc_id=str(request_of(each.message).id),
                message=each.publish.message,
                tag=int(each.publish.tag),
                ttl=each.publish.ttl,
                subscriber=each.subscriber,
                created_at=now,
            )
            for each in accepted
        ]
    )
    publish_answers(accepted)


def publish_answers(accepted: Iterable[Accepted]) -> None:
    publish_all(each.publish for each in accepted)


def answered_before(
    messages: Collection[Inbound], *, by_attempt: bool = False
) -> dict[int, Answer]:
    """The stored answers to requests that were answered already, by message.

    ``by_attempt`` also finds a request by its response topic and id: the wallet sealed
    the same request twice, so the bytes and the message id differ.
    """
    by_message: dict[tuple[str, str], Answer] = {}
    by_topic: dict[tuple[str, str], Answer] = {}
    rows = Answer.objects.select_related("subscriber").filter(
        request_message_id__in=[each.message_id for each in messages]
    )
    for row in rows:
        by_message[row.request_topic, row.request_message_id] = row
    if by_attempt:
        rows = Answer.objects.select_related("subscriber").filter(
            response_topic__in=[each.sym_key.topic for each in messages]
        )
        by_topic = {(row.response_topic, row.rpc_id): row for row in rows}
    found = {}
    for message in messages:
        answer = by_message.get((message.topic, message.message_id)) or by_topic.get(
            (message.sym_key.topic, str(getattr(message.payload, "id", "")))
        )
        if answer is not None:
            found[message.pk] = answer
    return found


def send_again(answers: Iterable[Answer]) -> None:
    """Publish stored answers again, except for subscriptions that ended since."""
    now = clock.now()
    publish_all(
        Publication(
            topic=each.response_topic,  # type: ignore[arg-type]  # a topic's text
            message=each.message,
            tag=each.tag,
            ttl=each.ttl,
        )
        for each in answers
        if each.subscriber is None or each.subscriber.is_live(now)
    )


def answer_error(
    message: Inbound, error: RemoteProtocolError, method: Method
) -> Publication | None:
    """The error answer; None if the payload has no request id to answer to."""
    if not isinstance(message.payload, JsonRpcRequest):
        return None
    return publish_error(
        method,
        error,
        request_id=message.payload.id,
        sym_key=message.sym_key,
        iv=entropy.iv(),
    )


def refuse(
    refusals: Mapping[int, RemoteProtocolError],
    messages: Iterable[Inbound],
    method: Method,
) -> dict[int, NotHandled]:
    """Answer refused requests with their errors; returns the reasons for the inbox."""
    answers = (
        answer_error(message, refusals[message.pk], method)
        for message in messages
        if message.pk in refusals
    )
    publish_all(each for each in answers if each is not None)
    return {pk: Refused(str(error)[:200]) for pk, error in refusals.items()}


def each_of(
    messages: Iterable[Inbound],
    decide: Callable[[Inbound], Accepted],
) -> tuple[list[Accepted], dict[int, RemoteProtocolError], dict[int, NotHandled]]:
    """Decide message by message; returns accepted, refused with an error, not handled."""
    accepted: list[Accepted] = []
    refused: dict[int, RemoteProtocolError] = {}
    declined: dict[int, NotHandled] = {}
    for message in messages:
        try:
            accepted.append(decide(message))
        except RemoteProtocolError as error:
            refused[message.pk] = error
        except (Refused, TryLater) as reason:
            declined[message.pk] = reason
    return accepted, refused, declined
