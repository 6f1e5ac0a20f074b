"""Answers when something is wrong: a page for people, a problem for programs.

Neither ever shows a trace, a query, a path or the name of a library.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from django.template import TemplateDoesNotExist
from django.template.loader import render_to_string

from common.problems import Problem, problem_response, request_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

RETRY_AFTER = {"Retry-After": "2"}
AWAY = Problem(
    type="database-away",
    title="Service unavailable",
    status=503,
    detail="The database does not answer; nothing was changed. Try again soon.",
)
BROKEN = Problem(
    type="server-error",
    title="Server error",
    status=500,
    detail="Something went wrong on our side.",
)
ABSENT = Problem(
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
MALFORMED = Problem(
    type="bad-request",
    title="Bad request",
    status=400,
    detail="The request cannot be read.",
)
NO_CSRF_TOKEN = Problem(
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
    """``templates/<status>.html`` for a browser, problem+json for all others."""
    if "text/html" not in request.headers.get("Accept", ""):
        return problem_response(request, problem, headers=headers)
    return HttpResponse(
        _page(request, problem), status=problem.status, headers=dict(headers or {})
    )


def _page(request: HttpRequest, problem: Problem) -> str:
    # Without a request context: what is broken may be what a context needs.
    # The bare request is for its cookies: the page keeps the look that was chosen.
    context = {
        "problem": problem,
        "request_id": request_id(request),
        "request": request,
    }
    for name in (f"{problem.status}.html", "error.html"):
        try:
            return render_to_string(name, context)
        except TemplateDoesNotExist:
            continue
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{problem.title}</title><h1>{problem.title}</h1><p>{problem.detail}"
    )


def is_away(error: BaseException | None) -> bool:
    return isinstance(error, OperationalError | InterfaceError)


def database_away(request: HttpRequest) -> HttpResponse:
    return answer(request, AWAY, headers=RETRY_AFTER)


def server_error(request: HttpRequest) -> HttpResponse:
    """``handler500``. Sessions, for one, meet an absent database outside any view."""
    if is_away(sys.exc_info()[1]):
        return database_away(request)
    return answer(request, BROKEN)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, ABSENT)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, FORBIDDEN)


def wrong_method(request: HttpRequest, allowed: str) -> HttpResponse:
    problem = replace(METHOD_NOT_ALLOWED, detail=f"This address takes {allowed} only.")
    return answer(request, problem)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, MALFORMED)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return answer(request, NO_CSRF_TOKEN)
