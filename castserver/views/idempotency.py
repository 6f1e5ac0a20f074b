"""The header ``Idempotency-Key``: a repeated POST gets the first response."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from django.http import HttpRequest, HttpResponse

from castserver.services.idempotency import Outcome, once, request_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from castserver.models import Project

HEADER: Final = "Idempotency-Key"


def answer_once(
    request: HttpRequest, project: Project, *, work: Callable[[], Outcome]
) -> HttpResponse:
    """The response of ``work``; with a key, of the first call that had it."""
    key = request.headers.get(HEADER)
    if key is None:
        return _response(work())
    digest = request_digest(
        (request.method or "").encode(),
        # The last part only: paths with and without the project id are the same call.
        request.path.rpartition("/")[2].encode(),
        request.body,
    )
    return _response(once(project, key, digest=digest, work=work))


def _response(outcome: Outcome) -> HttpResponse:
    response = HttpResponse(
        json.dumps(outcome.value, ensure_ascii=False),
        status=outcome.status,
        content_type="application/json; charset=utf-8",
    )
    if outcome.replayed:
        response["Idempotent-Replayed"] = "true"
    return response
