"""Error responses: a page for browsers, problem+json for all other clients.

Neither contains a traceback, a query, a file path or the name of a library.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from django.http import HttpResponse

from common.outages import is_database_unavailable
from common.problems import Problem, RoleForbids, problem_response
from notifyweb.error_pages import error_page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

RETRY_AFTER = {"Retry-After": "2"}
DATABASE_UNAVAILABLE = Problem(
    type="database-away",
    title="Service unavailable",
    status=503,
    detail="The database does not answer; nothing was changed. Try again soon.",
)
SERVER_ERROR = Problem(
    type="server-error",
    title="Server error",
    status=500,
    detail="Something went wrong on our side.",
)
NOT_FOUND = Problem(
    type="not-found",
    title="Not found",
    status=404,
    detail="There is nothing at this address.",
)
FORBIDDEN = Problem(
    type="forbidden",
    title="Forbidden",
    status=403,
    detail="This is not allowed here.",
)
METHOD_NOT_ALLOWED = Problem(
    type="method",
    title="Method not allowed",
    status=405,
    detail="This address takes other methods.",
)
BAD_REQUEST = Problem(
    type="bad-request",
    title="Bad request",
    status=400,
    detail="The request cannot be read.",
)
CSRF_FAILED = Problem(
    type="csrf",
    title="Forbidden",
    status=403,
    detail="The page is out of date or another site sent this; reload and try again.",
)


def answer(
    request: HttpRequest,
    problem: Problem,
    *,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """A page for browsers, problem+json for the rest."""
    if "text/html" not in request.headers.get("Accept", ""):
        return problem_response(request, problem, headers=headers)
    page = error_page(request, problem, retry_after=(headers or {}).get("Retry-After"))
    return HttpResponse(
        page,
        status=problem.status,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def database_unavailable(request: HttpRequest) -> HttpResponse:
    return answer(request, DATABASE_UNAVAILABLE, headers=RETRY_AFTER)


def server_error(request: HttpRequest) -> HttpResponse:
    """``handler500``: also for database errors outside any view, as in sessions."""
    if is_database_unavailable(sys.exc_info()[1]):
        return database_unavailable(request)
    return answer(request, SERVER_ERROR)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, NOT_FOUND)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RoleForbids):
        problem = replace(FORBIDDEN, type="role", detail=str(exception))
        return answer(request, problem)
    return answer(request, FORBIDDEN)


def wrong_method(request: HttpRequest, allowed: str) -> HttpResponse:
    problem = replace(METHOD_NOT_ALLOWED, detail=f"This address takes {allowed} only.")
    return answer(request, problem)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, BAD_REQUEST)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return answer(request, CSRF_FAILED)
