"""The relay's methods, one function each.

Spec: WalletConnect servers/relay/relay-server-rpc.md. Names and parameters are parsed by
`walletconnect.relay.frames` and `walletconnect.relay.session_calls`.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import orjson

from common import clock
from relayserver.connections.responses import RelayError, busy
from relayserver.delivery.publishing import Submission
from relayserver.storage.store import StoreUnavailable
from relayserver.values import Draft
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.json_values import require_object, take_list
from walletconnect.relay.frames import (
    MAX_BATCH,
    PREFIXES,
    BatchFetch,
    BatchPublish,
    BatchReceive,
    BatchSubscribe,
    BatchUnsubscribe,
    Fetch,
    RelayErrorCode,
    RelayMethod,
    Subscribe,
    Unsubscribe,
    subscription_id,
)
from walletconnect.relay.messages import Publication
from walletconnect.relay.session_calls import (
    ApproveSession,
    ProposeSession,
    SessionMethod,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relayserver.connections.responses import Answer
    from relayserver.connections.session import Session
    from relayserver.delivery.topics import TopicLink
    from walletconnect.crypto.keys import Topic
    from walletconnect.json_values import JsonObject, JsonValue
    from walletconnect.relay.rpc import JsonRpcRequest

    Method: TypeAlias = Callable[[Session, Answer, JsonObject], None]

TRUE = b"true"
MAX_ATTESTATION_LENGTH = 8 * 1024


def execute_call(session: Session, request: JsonRpcRequest) -> None:
    """Execute a request; it is answered now or when its work is done."""
    answer = session.answers.expect(request.id)
    try:
        known = METHODS_BY_NAME.get(request.method)
        if known is None:
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED, "unknown method")
        session.method_prefix, method = known
        method(session, answer, request.params)
    except RemoteProtocolError as error:
        refuse(session, answer, RelayError.of(error))
    except RelayError as error:
        refuse(session, answer, error)


def refuse(session: Session, answer: Answer, error: RelayError) -> None:
    session.hub.counts.requests_failed += 1
    answer.error(error)


# Publish


def publish(session: Session, answer: Answer, params: JsonObject) -> None:
    publication = Publication.from_params(params)
    draft = _draft(session, publication, params.get("attestation"))
    _submit(session, [draft], partial(_published, session, answer))


def batch_publish(session: Session, answer: Answer, params: JsonObject) -> None:
    members = take_list(params, "messages", max_length=MAX_BATCH)
    publications = BatchPublish.from_params(params).messages
    drafts = [
        _draft(
            session, publication, require_object(member, "messages").get("attestation")
        )
        for publication, member in zip(publications, members, strict=True)
    ]
    _submit(session, drafts, partial(_published, session, answer))


def _draft(session: Session, publication: Publication, attestation: JsonValue) -> Draft:
    message = publication.message
    if len(message.encode()) > session.hub.limits.relay_message_bytes:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, "message is too long")
    now = clock.now_ms()
    kept = (
        isinstance(attestation, str) and 0 < len(attestation) <= MAX_ATTESTATION_LENGTH
    )
    return Draft(
        topic=publication.topic,
        message_id=publication.message_id,
        message=message,
        tag=publication.tag,
        attestation=str(attestation) if kept and "\0" not in str(attestation) else None,
        publisher=session.client,
        published_at=now,
        expires_at=now + publication.ttl * 1000,
    )


def _submit(
    session: Session, drafts: list[Draft], done: Callable[[RelayError | None], None]
) -> None:
    size = sum([len(draft.message) for draft in drafts])
    session.hub.publishing.submit(Submission(drafts, size, done))


def _published(session: Session, answer: Answer, error: RelayError | None) -> None:
    if error is None:
        answer.result(TRUE)
    else:
        refuse(session, answer, error)


# Subscribe. The "blocking" methods of Rust clients differ in the format of the result.


def subscribe(session: Session, answer: Answer, params: JsonObject) -> None:
    topic = Subscribe.from_params(params).topic
    _check_room(session, [topic])
    links = session.subscribe([topic])
    _answer_subscribed(session, answer, links, orjson.dumps(_id_of(session, topic)))


def batch_subscribe(session: Session, answer: Answer, params: JsonObject) -> None:
    topics = list(BatchSubscribe.from_params(params).topics)
    _check_room(session, topics)
    ids = [_id_of(session, topic) for topic in topics]
    _answer_subscribed(session, answer, session.subscribe(topics), orjson.dumps(ids))


def batch_subscribe_blocking(
    session: Session, answer: Answer, params: JsonObject
) -> None:
    topics = list(BatchSubscribe.from_params(params).topics)
    _check_room(session, topics)
    ids = [{"id": _id_of(session, topic)} for topic in topics]
    _answer_subscribed(session, answer, session.subscribe(topics), orjson.dumps(ids))


def _id_of(session: Session, topic: Topic) -> str:
    return subscription_id(topic, session.client)


def _check_room(session: Session, topics: Sequence[Topic]) -> None:
    fresh = sum(topic not in session.links for topic in topics)
    if fresh > session.hub.room_for_topics(session):
        raise RelayError(
            RelayErrorCode.HANDLER,
            "Subscriber limit exceeded",
            "SubscriberLimitExceeded",
        )


def _answer_subscribed(
    session: Session, answer: Answer, links: list[TopicLink], result: bytes
) -> None:
    if links and not session.hub.knows_head:
        session.start(_answer_at_head(session, answer, links, result))
    else:
        answer.result(result, partial(session.hub.mailbox.serve, session, links))


async def _answer_at_head(
    session: Session, answer: Answer, links: list[TopicLink], result: bytes
) -> None:
    """Read the head of the log before answering, because other nodes write to it, too."""
    # Without the database, clients may receive acknowledged messages again.
    with contextlib.suppress(StoreUnavailable):
        head = await session.hub.store.head()
        for link in links:
            link.joined_at = head
    answer.result(result, partial(session.hub.mailbox.serve, session, links))


# Sessions of the Sign API: what is published and the subscription are one step.


def propose_session(session: Session, answer: Answer, params: JsonObject) -> None:
    call = ProposeSession.from_params(params)
    _publish_and_subscribe(session, answer, call, params.get("attestation"))


def approve_session(session: Session, answer: Answer, params: JsonObject) -> None:
    _publish_and_subscribe(session, answer, ApproveSession.from_params(params), None)


def _publish_and_subscribe(
    session: Session,
    answer: Answer,
    call: ProposeSession | ApproveSession,
    attestation: JsonValue,
) -> None:
    _check_room(session, [call.subscribes_to])
    drafts = [_draft(session, each, attestation) for each in call.publications]
    # Reserved before the commit, so that the limit holds and a later unsubscribe applies.
    link = session.reserve(call.subscribes_to)

    def stored(error: RelayError | None) -> None:
        if error is None:
            links = [link] if session.confirm(link) else []
            _answer_subscribed(session, answer, links, TRUE)
        else:
            session.release(link)
            refuse(session, answer, error)

    _submit(session, drafts, stored)


def unsubscribe(session: Session, answer: Answer, params: JsonObject) -> None:
    session.unsubscribe(Unsubscribe.from_params(params).topic)
    answer.result(TRUE)


def batch_unsubscribe(session: Session, answer: Answer, params: JsonObject) -> None:
    for each in BatchUnsubscribe.from_params(params).subscriptions:
        session.unsubscribe(each.topic)
    answer.result(TRUE)


# Fetch and receive: answered after a query.


def fetch(session: Session, answer: Answer, params: JsonObject) -> None:
    topic = Fetch.from_params(params).topic
    session.start(_fetch(session, answer, [topic]))


def batch_fetch(session: Session, answer: Answer, params: JsonObject) -> None:
    topics = BatchFetch.from_params(params).topics
    session.start(_fetch(session, answer, list(dict.fromkeys(topics))))


async def _fetch(session: Session, answer: Answer, topics: Sequence[Topic]) -> None:
    hub = session.hub
    # One at a time: the next page begins where this one ends.
    async with session.fetching:
        try:
            page, through = await hub.mailbox.fetch(session.client, topics)
        except StoreUnavailable:
            refuse(session, answer, busy())
            return
        hub.counts.fetched += len(page.messages)
        sent = asyncio.Event()
        result = b'{"messages":[%b],"hasMore":%b}' % (
            b",".join([message.json for message in page.messages]),
            b"true" if page.cut else b"false",
        )
        answer.result(result, sent.set)
        await sent.wait()
        hub.acknowledgements.fetched(session.client, through)


def batch_receive(session: Session, answer: Answer, params: JsonObject) -> None:
    receipts = BatchReceive.from_params(params).receipts
    pairs = [(each.topic, each.message_id) for each in receipts]
    session.start(_receive(session, answer, pairs))


async def _receive(
    session: Session, answer: Answer, receipts: Sequence[tuple[str, str]]
) -> None:
    try:
        received = await session.hub.store.receive(session.client, receipts)
    except StoreUnavailable:
        refuse(session, answer, busy())
        return
    session.hub.received(session.client, received)
    answer.result(TRUE)


METHODS: dict[RelayMethod, Method] = {
    RelayMethod.PUBLISH: publish,
    RelayMethod.BATCH_PUBLISH: batch_publish,
    RelayMethod.SUBSCRIBE: subscribe,
    RelayMethod.SUBSCRIBE_BLOCKING: subscribe,
    RelayMethod.BATCH_SUBSCRIBE: batch_subscribe,
    RelayMethod.BATCH_SUBSCRIBE_BLOCKING: batch_subscribe_blocking,
    RelayMethod.UNSUBSCRIBE: unsubscribe,
    RelayMethod.BATCH_UNSUBSCRIBE: batch_unsubscribe,
    RelayMethod.FETCH_MESSAGES: fetch,
    RelayMethod.BATCH_FETCH_MESSAGES: batch_fetch,
    RelayMethod.BATCH_RECEIVE: batch_receive,
}

METHODS_BY_NAME: dict[str, tuple[str, Method]] = {
    prefix + name: (prefix, method)
    for prefix in PREFIXES
    for name, method in METHODS.items()
}
METHODS_BY_NAME |= {
    SessionMethod.PROPOSE: (PREFIXES[0], propose_session),
    SessionMethod.APPROVE: (PREFIXES[0], approve_session),
}
