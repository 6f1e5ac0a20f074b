"""Client of a History Server: our own, in process, or another over HTTP.

Uses the network: never call it inside a transaction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from django.conf import settings

from common import clock, entropy, outbound
from history import services
from history.services import ArchivedMessage, Direction, HistoryPage
from keychain import services as keychain
from walletconnect.crypto.signing import IdentityKey
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import (
    JsonValue,
    parse_object,
    require_object,
    require_text,
    take_list,
)
from walletconnect.relay.auth import make_client_auth
from walletconnect.relay.messages import MAX_MESSAGE_LENGTH, message_id

if TYPE_CHECKING:
    from collections.abc import Collection

    from common.outbound import Response

__all__ = [
    "ArchivedMessage",
    "HistoryPage",
    "HistoryUnavailable",
    "messages",
    "register",
]

KEY_NAME: Final = "history client"
REGISTER_S: Final = 15.0
MESSAGES_S: Final = 30.0
MAX_ANSWER_LENGTH: Final = 32 * 1024 * 1024
MAX_RECEIPT_LENGTH: Final = 64 * 1024
MAX_ELEMENTS: Final = 1_000


class HistoryUnavailable(Exception):
    """The History Server did not answer, or not usefully."""


def register(tags: Collection[int]) -> None:
    """Register these tags. The spec defines no answer, so any status is a success."""
    if settings.HISTORY_SERVER_IS_OURS:
        services.archive(tags)
        return
    try:
        seed = keychain.secret(keychain.Holder.RELAY, KEY_NAME)
    except keychain.SecretNotFound:
        seed = entropy.key_bytes()
        keychain.put_secret(keychain.Holder.RELAY, KEY_NAME, seed)
    token = make_client_auth(
        IdentityKey.from_seed(seed),
        aud=settings.HISTORY_SERVER_URL,
        now=clock.now_s(),
        nonce=entropy.key_bytes(),
    )
    _fetch(
        "POST",
        "/register",
        json={
            "tags": [str(int(tag)) for tag in sorted(tags)],
            "relayUrl": settings.RELAY_PUBLIC_URL
            if settings.EMBEDDED_RELAY
            else settings.RELAY_URL,
        },
        token=token,
    )


def messages(
    topic: str,
    *,
    direction: Direction = "backward",
    count: int = 200,
    origin: str | None = None,
) -> HistoryPage:
    """A page of ``count`` messages; fewer only at the end. ``origin`` is its first.

    Message ids are computed here rather than trusted: paging and deduplication use them.
    """
    count = min(count, settings.LIMITS.history_page)
    page = _page(topic, direction=direction, count=count, origin=origin)
    # A server may end a page early if its messages are long.
    while page.next_id is not None and len(page.messages) < count:
        rest = _page(
            topic,
            direction=direction,
            count=count - len(page.messages),
            origin=page.next_id,
        )
        if not rest.messages or rest.messages[0] in page.messages:
            break
        page = replace(
            page, messages=page.messages + rest.messages, next_id=rest.next_id
        )
    return page


def _page(
    topic: str, *, direction: Direction, count: int, origin: str | None
) -> HistoryPage:
    if settings.HISTORY_SERVER_IS_OURS:
        return services.messages(topic, direction=direction, count=count, origin=origin)
    query = {"topic": topic, "direction": direction, "messageCount": str(count)}
    if origin is not None:
        query["originId"] = origin
    answer = _fetch("GET", f"/messages?{urlencode(query)}")
    if not answer.ok:
        raise HistoryUnavailable(f"status {answer.status}")
    try:
        members = parse_object(answer.body, "history page")
        next_id = members.get("nextId")
        return HistoryPage(
            topic,
            direction,
            tuple(
                _read_message(topic, each)
                for each in take_list(members, "messages", max_length=MAX_ELEMENTS)
            ),
            next_id if isinstance(next_id, str) and next_id else None,
        )
    except RemoteProtocolError as error:
        raise HistoryUnavailable(error.message) from None


def _fetch(
    method: str, path: str, *, json: object = None, token: str | None = None
) -> Response:
    try:
        return outbound.fetch(
            method,
            settings.HISTORY_SERVER_URL.rstrip("/") + path,
            json=json,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            max_bytes=MAX_RECEIPT_LENGTH if token else MAX_ANSWER_LENGTH,
            deadline=REGISTER_S if token else MESSAGES_S,
        )
    except outbound.OutboundError as error:
        raise HistoryUnavailable(str(error)) from error


def _read_message(topic: str, value: JsonValue) -> ArchivedMessage:
    members = require_object(value, "archived message")
    text = require_text(
        members.get("message"), "message", max_length=MAX_MESSAGE_LENGTH
    )
    client_id = members.get("client_id")
    return ArchivedMessage(
        message_id=message_id(text),
        client_id=client_id if isinstance(client_id, str) else "",
        topic=topic,
        message=text,
    )
