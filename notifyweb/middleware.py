"""What every request passes: its id, the headers of every answer, and absent parts."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from django.http import HttpResponseNotAllowed
from django.urls import is_valid_path

from common import entropy
from common.problems import ProblemError, problem_response
from notifyweb import errors
from notifyweb.health import PROBES
from notifyweb.logs import current_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

    GetResponse = Callable[[HttpRequest], HttpResponse]

logger = logging.getLogger(__name__)

REPEATED_SLASHES = re.compile("/{2,}")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "usb",
    )
)


class RequestIdentity:
    """Gives each request an id that its answer, its errors and its logs carry."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        found = given if REQUEST_ID.fullmatch(given) else entropy.token_hex(8)
        request.request_id = found  # type: ignore[attr-defined]
        token = current_request.set(found)
        try:
            response = self._get_response(request)
        finally:
            current_request.reset(token)
        response.headers["X-Request-Id"] = found
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


class PlainPaths:
    """Serves an address with doubled or trailing slashes as the address without them.

    A base URL that is configured with a slash at its end makes ``//notify``. Answered in
    place: a redirect would cost a POST its body.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        plain = plain_path(request.path_info)
        if (
            plain != request.path_info
            and not is_valid_path(request.path_info)
            and is_valid_path(plain)
        ):
            # Also what is logged, and what an idempotent call is known by.
            request.path = request.path.removesuffix(request.path_info) + plain
            request.path_info = request.META["PATH_INFO"] = plain
        return self._get_response(request)


def plain_path(path: str) -> str:
    return REPEATED_SLASHES.sub("/", path).rstrip("/") or "/"


class Probes:
    """Answers health probes before anything looks at their ``Host`` or their session.

    A probe names this machine by whatever address it found it at: a container's, a pod's,
    a service's. Host checks protect pages; these answers name no host.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        view = PROBES.get(request.path_info.removeprefix("/"))
        return self._get_response(request) if view is None else view(request)


class RejectNullBytes:
    """No database keeps a zero character, so the address of a page that holds one names
    nothing. The servers' own doors refuse it in their own words."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.app_name != "dashboard":
            return None
        if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            return errors.answer(request, errors.MALFORMED)
        return None


class MethodNotAllowed:
    """A method that an address does not take: a page or a problem, like other errors."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if isinstance(response, HttpResponseNotAllowed):
            said = errors.wrong_method(request, response.headers["Allow"])
            # The answer stays what it is, with the headers that its view gave it.
            response.content = said.content
            response.headers["Content-Type"] = said.headers["Content-Type"]
        return response


class DatabaseUnavailable:
    """A database that is away is 503 with ``Retry-After``, never a trace.

    Problems raised below a view become their answers here as well.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        if isinstance(exception, ProblemError):
            return problem_response(
                request, exception.problem, headers=exception.headers
            )
        if errors.is_away(exception):
            logger.warning("the database is away", extra={"path": request.path})
            return errors.database_away(request)
        return None
