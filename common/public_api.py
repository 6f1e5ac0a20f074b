"""What the public HTTP APIs have in common: those of the Keys, History and Cast Server.

Any web page may call them (they use no cookies), bodies are bounded before they are parsed,
calls are rated per client, and every error leaves in the server's own form.

django-cors-headers is not used: it answers preflights with 200 instead of 204 and adds its
headers only to requests that carry ``Origin``, while clients that check a server without
one (ours among them) look for them.
"""

from __future__ import annotations

import functools
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.request import UnreadablePostError
from django.urls import URLPattern
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser

from common import limits
from common.problems import Problem, ProblemError, problem_response
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RATE_VERDICT: Final = "rate_verdict"
METHODS: Final = ("GET", "POST", "PUT", "DELETE")
CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After, Idempotent-Replayed, "
    "X-RateLimit-Limit, X-RateLimit-Remaining, "
    "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": ", ".join((*METHODS, "OPTIONS")),
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
    "Access-Control-Max-Age": "86400",
}
# Ninja's own pages: the page of the documentation needs the CSP of pages.
_DOCUMENTATION: Final = "openapi-view"
_DESCRIPTION: Final = "openapi-json"
_ROOT: Final = "api-root"

# Possessive: what it could go back to would take a hundred times the memory of the text.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class PublicAPI(NinjaAPI):
    """A Ninja API for callers from anywhere. Subclasses choose the form of errors.

    ``max_body`` names a limit of the table. ``notifyweb.request_costs`` limits the rate.
    """

    access_rule: ClassVar[str] = "public"

    def __init__(
        self,
        *,
        name: str,
        max_body: str,
        **options: Any,
    ) -> None:
        super().__init__(urls_namespace=name, parser=StrictParser(), **options)
        self.max_body = max_body

    def send_problem(
        self,
        request: HttpRequest,
        problem: Problem,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        return problem_response(request, problem, headers=headers)

    def patterns(self) -> list[URLPattern]:
        """What an urlconf includes."""
        found: list[URLPattern] = []
        for pattern in self._get_urls():
            # Ninja reverses the root for its description, and only for that.
            if isinstance(pattern, URLPattern) and (
                self.openapi_url or pattern.name != _ROOT
            ):
                if pattern.name in {_DOCUMENTATION, _DESCRIPTION}:
                    # Ninja's own views answer every method.
                    pattern.callback = require_safe(pattern.callback)
                if pattern.name != _DOCUMENTATION:
                    pattern.callback = self._endpoint(pattern.callback)
                found.append(pattern)
        return found

    def _endpoint(self, view: Callable[..., Any]) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def endpoint(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                if request.method == "OPTIONS":
                    response = HttpResponse(status=204, headers=PREFLIGHT)
                else:
                    self._check_size(request)
                    response = view(request, *args, **kwargs)
                if isinstance(response, HttpResponseNotAllowed):
                    known = response.headers["Allow"]
                    named = ", ".join(each for each in METHODS if each in known)
                    detail = f"This address takes {named} only."
                    raise ProblemError(
                        Problem("method", "Method not allowed", 405, detail),
                        headers={"Allow": f"{named}, OPTIONS"},
                    )
            except ProblemError as error:
                response = self.send_problem(
                    request, error.problem, headers=error.headers
                )
            verdict = getattr(request, RATE_VERDICT, None)
            if verdict is not None:
                headers = verdict.headers() | verdict.standard_headers()
                for name, text in headers.items():
                    response.headers[name] = text
            return _open_to_all(response)

        def refuse(
            request: HttpRequest, problem: Problem, headers: Mapping[str, str]
        ) -> HttpResponse:
            return _open_to_all(self.send_problem(request, problem, headers=headers))

        # For middleware that ends a request before the view runs.
        endpoint.refuse = refuse  # type: ignore[attr-defined]
        # No cookies are read, so another site's page gains nothing by a call.
        endpoint.csrf_exempt = True  # type: ignore[attr-defined]
        endpoint.access_rule = self.access_rule  # type: ignore[attr-defined]
        return endpoint

    def _check_size(self, request: HttpRequest) -> None:
        most: int = getattr(settings.LIMITS, self.max_body)
        try:
            # The length may be absent (chunked); Django then stops at a limit of its own.
            length = int(request.META.get("CONTENT_LENGTH") or 0)
            too_large = length > most or len(request.body) > most
        except (ValueError, RequestDataTooBig, UnreadablePostError):
            too_large = True
        if too_large:
            detail = f"a body has at most {most} bytes"
            raise ProblemError(Problem("too-large", "Content too large", 413, detail))

    def on_exception(self, request: HttpRequest, exc: Any) -> HttpResponse:
        problem = self.problem_of(exc)
        if problem is None:
            # Our own fault: the project's error pages answer, without a trace.
            raise exc
        return self.send_problem(request, problem.problem, headers=problem.headers)

    def problem_of(self, error: Exception) -> ProblemError | None:
        """What the caller did wrong, if the error is the caller's."""
        if isinstance(error, HttpError) and isinstance(error.__cause__, ProblemError):
            return error.__cause__  # Ninja wraps what a parser raises.
        if isinstance(error, ProblemError):
            return error
        if isinstance(error, RemoteProtocolError):
            return ProblemError(bad_request(error.message))
        if isinstance(error, ValidationError):
            first = error.errors[0]
            # ("body", "call", "notification", "title"): the second is the name of our
            # own argument.
            place = [str(part) for part in first["loc"]]
            names = place[2:] if place[0] == "body" else place[1:]
            field = "/" + "/".join(names)
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            return ProblemError(
                Problem("invalid", status.phrase, status.value, first["msg"], field)
            )
        if isinstance(error, HttpError):
            status = HTTPStatus(error.status_code)
            name = status.phrase.lower().replace(" ", "-")
            is_unauthorized = status == HTTPStatus.UNAUTHORIZED
            return ProblemError(
                Problem(name, status.phrase, status.value, str(error)),
                headers={"WWW-Authenticate": "Bearer"} if is_unauthorized else None,
            )
        return None


def _open_to_all(response: HttpResponse) -> HttpResponse:
    for header, value in CORS.items():
        response.headers.setdefault(header, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


class StrictParser(Parser):
    """JSON as JavaScript reads it: no NaN, no lone surrogates; and of bounded depth."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        most = settings.LIMITS.json_depth
        if is_deeper(request.body, most):
            raise _malformed(f"a body nests at most {most} deep")
        try:
            return parse_json(request.body)  # type: ignore[return-value]
        except RemoteProtocolError:
            raise _malformed("the body is not valid JSON") from None


def is_deeper(body: bytes, most: int) -> bool:
    """Whether the brackets of a JSON text nest more than ``most``; strings do not count."""
    brackets = _STRING.sub(b"", body).translate(_TO_SQUARE, _NO_BRACKETS)
    # Each round takes away the innermost level, which is faster than counting up and down.
    for _ in range(most):
        brackets = brackets.replace(b"[]", b"")
    return b"[]" in brackets or brackets.count(b"[") > most


def enforce_rate(
    name: str, key: str, detail: str = "", *, request: HttpRequest | None = None
) -> limits.Verdict:
    """Take one token of the limit ``name``, or end the request with 429.

    With ``request``, headers of its response have how much of this limit is left.
    """
    verdict = limits.consume(name, key)
    if request is not None:
        setattr(request, RATE_VERDICT, verdict)
    if not verdict.allowed:
        headers = verdict.headers() | verdict.standard_headers()
        raise ProblemError(too_many(verdict, detail), headers=headers)
    return verdict


def too_many(verdict: limits.Verdict, detail: str = "") -> Problem:
    detail = detail or f"try again in {verdict.retry_after} s"
    return Problem("too-many-requests", "Too many requests", 429, detail)


def bad_request(detail: str, field: str | None = None) -> Problem:
    return Problem("bad-request", "Bad request", 400, detail, field)


def _malformed(detail: str) -> ProblemError:
    return ProblemError(Problem("malformed", "Malformed request", 400, detail))
