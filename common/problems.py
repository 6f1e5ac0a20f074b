"""Error answers of our own HTTP API.

Spec: RFC 9457, "Problem Details for HTTP APIs". An answer names what the caller did
wrong and where, and never shows a trace, a query, a path or the name of a library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.text import slugify

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """``type`` is a name in ``common.problem_types``, or a whole URI.

    ``field`` is a JSON pointer or a parameter's name, when one value is to blame.
    """

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None

    def to_value(self) -> dict[str, object]:
        value: dict[str, object] = {
            "type": self.type if ":" in self.type else problem_url(self.type),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.field is not None:
            value["field"] = self.field
        return value


def problem_url(name: str) -> str:
    """The page that explains a problem type."""
    return f"{settings.PUBLIC_URL}/problems/{slugify(name)}"


class RoleForbids(PermissionDenied):
    """A member's role does not allow it. The text explains it to that person."""


class ProblemError(Exception):
    """Raised below a view to end the request with ``problem``."""

    def __init__(
        self, problem: Problem, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(problem.title)
        self.problem = problem
        self.headers = dict(headers or {})


def request_id(request: HttpRequest) -> str:
    """The id that the middleware gave this request; logs carry the same one."""
    return str(getattr(request, "request_id", ""))


def problem_response(
    request: HttpRequest,
    problem: Problem,
    *,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    value = problem.to_value()
    if request_id(request):
        value["requestId"] = request_id(request)
    return JsonResponse(
        value,
        status=problem.status,
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
