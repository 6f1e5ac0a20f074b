"""The doors of the History Server.

Spec: servers/history; protocol.md, section 9. No cookies, so any origin may call, and no
CSRF token is asked for.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from common import clock
from common.clients import rate_key
from common.limits import consume
from common.problems import Problem, ProblemError, problem_response
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
    from collections.abc import Callable

    from history.services import Direction, HistoryPage, Registration
    from walletconnect.crypto.keys import Topic

    Door = Callable[[HttpRequest], HttpResponse]

BODY_BYTES: Final = 16 * 1024
MAX_URL_LENGTH: Final = 255
MAX_TAGS: Final = 64
MAX_TAG: Final = 2**32 - 1
CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "no-store",
}
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Max-Age": "86400",
}
_PATTERN = re.compile(r"[0-9*]{1,10}")
NOT_REGISTERED: Final = Problem(
    "not-found", "Not found", 404, "This client is not registered; send tags first."
)
# What published messages came with; the archive has no other kind.
METHOD: Final = "irn_publish"


def history_endpoint(*methods: str) -> Callable[[Door], Door]:
    """CORS, the methods, the rate, and problems as answers."""

    def wrap(view: Door) -> Door:
        @csrf_exempt
        @functools.wraps(view)
        def door(request: HttpRequest) -> HttpResponse:
            if request.method == "OPTIONS":
                return HttpResponse(status=204, headers={**CORS, **PREFLIGHT})
            try:
                _let_in(request, methods)
                answer = view(request)
            except ProblemError as error:
                answer = problem_response(request, error.problem, headers=error.headers)
            except RemoteProtocolError as error:
                answer = problem_response(request, _bad(error.message))
            for name, value in CORS.items():
                answer[name] = value
            return answer

        # Messages are sealed and topics are secrets; registrations prove themselves.
        door.access_rule = "public"  # type: ignore[attr-defined]
        return door

    return wrap


@history_endpoint("GET")
def health(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@history_endpoint("GET", "POST")
def register(request: HttpRequest) -> HttpResponse:
    """A client's registration: read it, replace its tags, or add and remove some."""
    client_id = _client_of(request)
    if request.method == "GET":
        found = services.registration_of(client_id)
        if found is None:
            raise ProblemError(NOT_REGISTERED)
        return _registration(found)
    body = _body(request)
    relay_url = body.get("relayUrl", "")
    if not isinstance(relay_url, str) or len(relay_url) > MAX_URL_LENGTH:
        raise ProblemError(_bad("malformed relayUrl", "relayUrl"))
    if has_control_characters(relay_url):
        raise ProblemError(_bad("malformed relayUrl", "relayUrl"))
    changes = {name: _tags(body, name) for name in ("tags", "appendTags", "removeTags")}
    tags = changes["tags"]
    if tags is None:
        added, removed = (
            changes[name] or set() for name in ("appendTags", "removeTags")
        )
        if added & removed:
            detail = "a tag is either appended or removed"
            raise ProblemError(_bad(detail, "removeTags"))
        kept = services.change_tags(
            client_id, added=added, removed=removed, relay_url=relay_url
        )
        if kept is None and not added | removed:
            raise ProblemError(_bad("malformed tags"))
        if kept is None:
            raise ProblemError(NOT_REGISTERED)
        return _registration(kept)
    return _registration(services.register(client_id, tags=tags, relay_url=relay_url))


@history_endpoint("GET")
def messages(request: HttpRequest) -> HttpResponse:
    page = services.messages(
        _topic(request),
        direction=_direction(request),
        count=_count(request),
        origin=_origin(request),
    )
    return JsonResponse(_page_value(page, _count(request)))


# --- what a request has to pass first, and what it asks -------------------------------


def _let_in(request: HttpRequest, methods: tuple[str, ...]) -> None:
    if request.method not in methods:
        named = ", ".join(methods)
        problem = Problem("method", "Method not allowed", 405, f"Only {named}.")
        raise ProblemError(problem, headers={"Allow": f"{named}, OPTIONS"})
    verdict = consume("history_read", rate_key(request))
    if not verdict.allowed:
        problem = Problem("too-many-requests", "Too many requests", 429, "Try later.")
        raise ProblemError(problem, headers=verdict.headers())


def _client_of(request: HttpRequest) -> str:
    """The client id that the bearer token proves.

    The clients name whatever URL they call this server by, so its host is not compared;
    but a token for a relay (``wss:``) does not open this door.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    problem = Problem(
        "unauthorized", "Unauthorized", 401, "A relay-client JWT, please."
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


def _body(request: HttpRequest) -> JsonObject:
    too_large = Problem(
        "too-large", "Content too large", 413, f"At most {BODY_BYTES} bytes."
    )
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
        if length > BODY_BYTES or len(request.body) > BODY_BYTES:
            raise ProblemError(too_large)
        return parse_object(request.body, "body")
    except (ValueError, RequestDataTooBig, UnreadablePostError):
        raise ProblemError(too_large) from None


def _tags(body: JsonObject, name: str) -> set[str] | None:
    """Tags, or patterns of tags in which ``*`` stands for a digit; None if absent.

    Strings on this wire, integers on the relay's.
    """
    if body.get(name) is None:
        return None
    tags = set()
    for tag in take_list(body, name, longest=MAX_TAGS):
        text = tag if isinstance(tag, str) else str(tag)
        if not _PATTERN.fullmatch(text) or ("*" not in text and int(text) > MAX_TAG):
            raise ProblemError(_bad(f"malformed {name}", name))
        tags.add(text)
    return tags


def _topic(request: HttpRequest) -> Topic:
    topic = request.GET.get("topic")
    try:
        return parse_topic(topic)
    except RemoteProtocolError as error:
        raise ProblemError(_bad(error.message, "topic")) from None


def _origin(request: HttpRequest) -> str | None:
    origin = request.GET.get("originId") or None
    if origin is not None and has_control_characters(origin):
        raise ProblemError(_bad("malformed originId", "originId"))
    return origin


def _direction(request: HttpRequest) -> Direction:
    direction = request.GET.get("direction") or "forward"
    if direction == "forward":
        return "forward"
    if direction == "backward":
        return "backward"
    raise ProblemError(_bad("forward or backward", "direction"))


def _count(request: HttpRequest) -> int:
    most = services.longest_page()
    text = request.GET.get("messageCount") or str(most)
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise ProblemError(_bad("a positive number", "messageCount"))
    return min(int(text), most)


# --- answers --------------------------------------------------------------------------


def _bad(detail: str, field: str | None = None) -> Problem:
    return Problem("bad-request", "Bad request", 400, detail, field)


def _registration(registration: Registration) -> HttpResponse:
    """``kept`` says which messages are archived of what the client asked for."""
    return JsonResponse(
        {
            "tags": list(registration.tags),
            "relayUrl": registration.relay_url,
            "kept": [str(tag) for tag in registration.kept],
        }
    )


def _page_value(page: HistoryPage, count: int) -> dict[str, object]:
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
    # notify-client 0.11.3 replays a page in the order it came, and sync 0.3.8 then keeps
    # the first key only. Paging does not look at the order of a page that is the last.
    if (
        settings.HISTORY_SHORT_PAGES_ASCENDING
        and page.direction == "backward"
        and len(found) < count
        and page.next_id is None
    ):
        found.reverse()
    return {
        "topic": page.topic,
        "direction": page.direction,
        "nextId": page.next_id,
        "messages": found,
    }
