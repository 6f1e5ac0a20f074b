"""``/icons/<digest>``: the pictures of dapps that we have fetched and redrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import Http404, HttpResponse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from dashboard.access import public
from subscriptions.services import picture_of

if TYPE_CHECKING:
    from django.http import HttpRequest

YEAR_S = 365 * 86_400


@public
@require_safe
def icon(request: HttpRequest, digest: str) -> HttpResponse:
    """Public, because the digest is of the picture's content: whoever knows it has the
    picture. For that reason it can also be kept for good."""
    picture = picture_of(digest)
    if picture is None:
        raise Http404
    response = HttpResponse(picture, content_type="image/webp")
    patch_cache_control(response, public=True, max_age=YEAR_S, immutable=True)
    return response
