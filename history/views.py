"""The HTTP API of the History Server.

Spec: WalletConnect specs, servers/history/history-server-api.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from common import clock
from common.problems import Problem, ProblemError
from common.public_api import PublicAPI, bad_request
from history import services
from walletconnect.crypto.keys import parse_topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.jwt import DidJwt
from walletconnect.json_values import (
    JsonObject,
    has_control_characters,
    parse_object,
    take_list,
)
from walletconnect.relay.auth import verify_client_auth

if TYPE_CHECKING:
    from history.services import Direction, Registration

MAX_URL_LENGTH: Final = 255
MAX_TAG: Final = 2**32 - 1
_PATTERN = re.compile(r"[0-9*]{1,10}")
DIRECTIONS: Final[dict[str, Direction]] = {
    "forward": "forward",
    "backward": "backward",
}
NOT_REGISTERED: Final = Problem(
    "not-found", "Not found", 404, "This client is not registered; send tags first."
)
# The archive keeps published messages only, so every message has this method.
METHOD: Final = "irn_publish"

# Messages are sealed and topics are secrets, so reading needs no further proof.
api = PublicAPI(name="history", max_body="history_body_bytes", openapi_url=None)


@api.get("/health", url_name="health")
def health(request: HttpRequest) -> Any:
    return JsonResponse({"status": "ok"})


@api.get("/register", url_name="register")
def get_registration(request: HttpRequest) -> Any:
    found = services.registration_of(_client_of(request))
    if found is None:
        raise ProblemError(NOT_REGISTERED)
    return _registration(found)


@api.post("/register")
def register(request: HttpRequest) -> Any:
    """Replace a client's tags, or add and remove some."""
    client_id = _client_of(request)
    body = parse_object(request.body, "body")
    relay_url = body.get("relayUrl", "")
    if not isinstance(relay_url, str) or len(relay_url) > MAX_URL_LENGTH:
        raise ProblemError(bad_request("malformed relayUrl", "relayUrl"))
    if has_control_characters(relay_url):
        raise ProblemError(bad_request("malformed relayUrl", "relayUrl"))
    changes = {name: _tags(body, name) for name in ("tags", "appendTags", "removeTags")}
    tags = changes["tags"]
    if tags is None:
        added, removed = (
            changes[name] or set() for name in ("appendTags", "removeTags")
        )
        if added & removed:
            detail = "a tag is either appended or removed"
            raise ProblemError(bad_request(detail, "removeTags"))
        kept = services.change_tags(
            client_id, added=added, removed=removed, relay_url=relay_url
        )
        if kept is None and not added | removed:
            raise ProblemError(bad_request("malformed tags"))
        if kept is None:
            raise ProblemError(NOT_REGISTERED)
        return _registration(kept)
    return _registration(services.register(client_id, tags=tags, relay_url=relay_url))


@api.get("/messages", url_name="messages")
def messages(request: HttpRequest) -> Any:
    query = request.GET
    try:
        topic = parse_topic(query.get("topic"))
    except RemoteProtocolError as error:
        raise ProblemError(bad_request(error.message, "topic")) from None
    origin = query.get("originId") or None
    if origin is not None and has_control_characters(origin):
        raise ProblemError(bad_request("malformed originId", "originId"))
    direction = DIRECTIONS.get(query.get("direction") or "forward")
    if direction is None:
        raise ProblemError(bad_request("forward or backward", "direction"))
    most = settings.LIMITS.history_page
    text = query.get("messageCount") or str(most)
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise ProblemError(bad_request("a positive number", "messageCount"))
    count = min(int(text), most)
    page = services.messages(topic, direction=direction, count=count, origin=origin)
    found = [
        {
            "message_id": each.message_id,
            "client_id": each.client_id,
            "topic": each.topic,
            "message": each.message,
            "method": METHOD,
        }
        for each in page.messages
    ]
    # notify-client 0.11.3 replays a page in the order it has, and sync 0.3.8 then keeps
    # the first key only. Paging does not depend on the order within the last page.
    if (
        settings.HISTORY_SHORT_PAGES_ASCENDING
        and direction == "backward"
        and len(found) < count
        and page.next_id is None
    ):
        found.reverse()
    return JsonResponse(
        {
            "topic": page.topic,
            "direction": page.direction,
            "nextId": page.next_id,
            "messages": found,
        }
    )


# --- requests -------------------------------------------------------------------------


def _client_of(request: HttpRequest) -> str:
    """The client id that the bearer token proves.

    Clients put any URL of this server into ``aud``, so its host is not compared; but a
    token for a relay (``wss:``) is refused.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    problem = Problem(
        "unauthorized", "Unauthorized", 401, "A relay-client JWT is required."
    )
    if scheme.lower() != "bearer":
        raise ProblemError(problem, headers={"WWW-Authenticate": "Bearer"})
    try:
        client_id = verify_client_auth(token.strip(), now=clock.now_s())
        aud = DidJwt.parse(token.strip()).claims.get("aud")
    except RemoteProtocolError:
        raise ProblemError(problem, headers={"WWW-Authenticate": "Bearer"}) from None
    if not isinstance(aud, str) or not aud.startswith(("https://", "http://")):
        raise ProblemError(problem, headers={"WWW-Authenticate": "Bearer"})
    return client_id


def _tags(body: JsonObject, name: str) -> set[str] | None:
    """Tags, or patterns of tags in which ``*`` stands for a digit; None if absent.

    Strings on this wire, integers on the relay's.
    """
    if body.get(name) is None:
        return None
    tags = set()
    for tag in take_list(body, name, max_length=settings.LIMITS.history_tags):
        text = tag if isinstance(tag, str) else str(tag)
        if not _PATTERN.fullmatch(text) or ("*" not in text and int(text) > MAX_TAG):
            raise ProblemError(bad_request(f"malformed {name}", name))
        tags.add(text)
    return tags


# --- answers --------------------------------------------------------------------------


def _registration(registration: Registration) -> HttpResponse:
    """``kept`` are those of the tags that are archived."""
    return JsonResponse(
        {
            "tags": list(registration.tags),
            "relayUrl": registration.relay_url,
            "kept": [str(tag) for tag in registration.kept],
        }
    )
