"""did.json and wc-notify-config.json of dapps hosted here, and the server's own did.json.

Public and readable from any origin. They may be cached for five minutes: replaced keys are
accepted for months, and a wallet that offers an old list of types for that long does no harm.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control
from django.utils.http import http_date
from django.views.decorators.http import require_safe

from castserver.models import Project
from castserver.services.projects import documents

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MAX_AGE_S: Final = 300


@require_safe
def did_document(request: HttpRequest, slug: str) -> HttpResponse:
    project = _hosted(slug)
    value = documents.did_document(project)
    return _document(request, value, modified=project.last_modified)


@require_safe
def notify_config(request: HttpRequest, slug: str) -> HttpResponse:
    project = _hosted(slug)
    value = documents.notify_config(project, project.types.all())
    return _document(request, value, modified=project.last_modified)


@require_safe
def server_did_document(request: HttpRequest) -> HttpResponse:
    return _document(request, documents.server_did_document(), modified=None)


@require_safe
def explorer_config(request: HttpRequest) -> HttpResponse:
    """``?appDomain=``: the explorer's answer about an app, for clients of 2024."""
    domain = request.GET.get("appDomain", "")
    project = documents.project_of_domain(domain)
    if project is None:
        raise Http404("no project has this domain")
    value = documents.explorer_config(project, project.types.all())
    return _document(request, value, modified=project.last_modified)


def _hosted(slug: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        raise Http404("no project has this name")
    return project


def _document(
    request: HttpRequest, value: Mapping[str, object], *, modified: datetime | None
) -> HttpResponse:
    text = json.dumps(value, ensure_ascii=False).encode()
    etag = f'"{hashlib.sha256(text).hexdigest()[:32]}"'
    unchanged = etag in request.headers.get("If-None-Match", "")
    response = HttpResponse(
        b"" if unchanged else text,
        status=304 if unchanged else 200,
        content_type="application/json",
        headers={
            "ETag": etag,
            "Access-Control-Allow-Origin": "*",
            "Cross-Origin-Resource-Policy": "cross-origin",
        },
    )
    if modified is not None:
        response["Last-Modified"] = http_date(modified.timestamp())
    patch_cache_control(response, public=True, max_age=MAX_AGE_S)
    return response
