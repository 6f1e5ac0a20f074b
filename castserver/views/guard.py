"""What every request of the Cast API passes first, before anything is parsed.

reliability.md, item 24. Size before body, depth before values; and CORS, because dapps
call this API from browsers as well: it knows no cookies, only bearer secrets.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.request import UnreadablePostError
from ninja.parser import Parser

from common.problems import Problem, ProblemError, problem_response
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable

CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Access-Control-Expose-Headers": "Retry-After, Idempotent-Replayed, "
    "X-RateLimit-Limit, X-RateLimit-Remaining",
}
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
    "Access-Control-Max-Age": "86400",
}

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def guarded(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """``view`` behind the size limit and with CORS headers."""

    @functools.wraps(view)
    def guard(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method == "OPTIONS":
            response: HttpResponseBase = HttpResponse(status=204, headers=PREFLIGHT)
        else:
            response = _refuse_body(request) or view(request, *args, **kwargs)
        for name, value in CORS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    guard.csrf_exempt = True  # type: ignore[attr-defined]  # no cookies are read
    return guard


def _refuse_body(request: HttpRequest) -> HttpResponse | None:
    most = settings.LIMITS.json_body_bytes
    problem = Problem(
        "too-large", "Content too large", 413, f"a body has at most {most} bytes"
    )
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = most + 1
    if length > most:
        return problem_response(request, problem)
    try:
        # The length may be unknown (chunked); reading stops at Django's own limit.
        too_large = len(request.body) > most
    except (RequestDataTooBig, UnreadablePostError):
        too_large = True
    return problem_response(request, problem) if too_large else None


def json_depth(body: bytes) -> int:
    """How deep the brackets of a JSON text nest; strings do not count."""
    deepest = depth = 0
    for match in _BRACKET.finditer(_STRING.sub(b"", body)):
        if match[0] in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


class StrictParser(Parser):
    """JSON as JavaScript reads it: no NaN, no lone surrogates."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        most = settings.LIMITS.json_depth
        if json_depth(request.body) > most:
            raise _malformed(f"a body nests at most {most} deep")
        try:
            return parse_json(request.body)  # type: ignore[return-value]
        except RemoteProtocolError:
            raise _malformed("the body is no JSON text") from None


def _malformed(detail: str) -> ProblemError:
    return ProblemError(Problem("malformed", "Malformed request", 400, detail))
