"""Middleware of every request: ids, headers, probes and error responses."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, cast

from django.http import HttpResponseNotAllowed
from django.urls import is_valid_path

from common import bidi, entropy, limits
from common.outages import is_database_unavailable
from common.problems import ProblemError
from common.public_api import too_many
from notifyweb import errors, request_costs
from notifyweb.health import PROBES
from notifyweb.logs import current_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

    GetResponse = Callable[[HttpRequest], HttpResponse]

logger = logging.getLogger(__name__)

# Apps whose pages put parts of the URL into queries.
PAGES = frozenset({"dashboard", "operations"})
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


class Middleware:
    """Passes requests on; subclasses override ``__call__`` or add Django's hooks."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)


class RequestIdentity(Middleware):
    """Gives each request an id that its response, its errors and its logs carry."""

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


class NeutralizeBidi(Middleware):
    """Replaces bidirectional control characters in pages, whatever text brought them there."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if is_page and not response.streaming:
            content = bidi.neutralize_utf8(response.content)
            if content != response.content:
                response.content = content
        return response


class PlainPaths(Middleware):
    """Serves a path with doubled or trailing slashes as the path without them.

    Clients build ``//notify`` from a base URL with a slash at its end. Redirecting would
    lose the body of a POST.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        plain = plain_path(request.path_info)
        if (
            plain != request.path_info
            and not is_valid_path(request.path_info)
            and is_valid_path(plain)
        ):
            # Logs and idempotency keys use the plain path, too.
            request.path = request.path.removesuffix(request.path_info) + plain
            request.path_info = request.META["PATH_INFO"] = plain
        return self._get_response(request)


def plain_path(path: str) -> str:
    return REPEATED_SLASHES.sub("/", path).rstrip("/") or "/"


class Probes(Middleware):
    """Serves health probes before ``Host`` and session are checked.

    Probes use the address of a container, a pod or a service as ``Host``. Host checks
    protect pages that build links from it; probe responses contain none.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        view = PROBES.get(request.path_info.removeprefix("/"))
        return self._get_response(request) if view is None else view(request)


class RejectNullBytes(Middleware):
    """Rejects page URLs with a null byte, which PostgreSQL cannot store.

    The HTTP APIs validate their own parameters and name the field in the error.
    """

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.app_name not in PAGES:
            return None
        if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            return errors.answer(request, errors.BAD_REQUEST)
        return None


class MethodNotAllowed(Middleware):
    """Gives 405 responses the same body as other errors: a page or problem+json."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if isinstance(response, HttpResponseNotAllowed):
            error = errors.wrong_method(request, response.headers["Allow"])
            # The view's own headers, such as CORS, stay.
            response.content = error.content
            for name in ("Content-Type", "Cache-Control"):
                response.headers[name] = error.headers[name]
            if "Content-Length" in response.headers:
                # CommonMiddleware has declared that of the empty body.
                response.headers["Content-Length"] = str(len(response.content))
        return response


class RequestCosts(Middleware):
    """Takes what a request costs from its bucket, before the view runs (``request_costs``)."""

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        match = request.resolver_match
        cost = None if match is None else request_costs.cost_of(match)
        limit = "" if cost is None else cost.limit(request.method)
        if cost is None or not limit:
            return None
        verdict = limits.consume(limit, request_costs.payer(request, cost))
        if verdict.allowed:
            return None
        problem = too_many(verdict)
        # The public APIs have their own form of errors.
        refuse = getattr(view, "refuse", None)
        if refuse is not None:
            headers = verdict.headers() | verdict.standard_headers()
            return cast("HttpResponse", refuse(request, problem, headers))
        return errors.answer(request, problem, headers=verdict.headers())


class DatabaseUnavailable(Middleware):
    """Answers 503 with ``Retry-After`` while the database is unavailable.

    Also turns a ``ProblemError`` raised below a view into its response.
    """

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        if isinstance(exception, ProblemError):
            return errors.answer(request, exception.problem, headers=exception.headers)
        if is_database_unavailable(exception):
            logger.warning("database unavailable", extra={"path": request.path})
            return errors.database_unavailable(request)
        return None
