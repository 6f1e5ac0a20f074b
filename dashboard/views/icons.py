"""``/icons/<digest>``: the pictures of dapps that we have fetched and redrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from dashboard.access import member, or_404
from subscriptions.services import picture_of

if TYPE_CHECKING:
    from dashboard.access import MemberRequest

YEAR_S = 365 * 86_400


@member
@require_safe
def icon(request: MemberRequest, slug: str) -> HttpResponse:
    """The address is the digest of the content, so browsers may keep it for good."""
    picture = or_404(picture_of(slug))
    response = HttpResponse(picture, content_type="image/webp")
    patch_cache_control(response, private=True, max_age=YEAR_S, immutable=True)
    return response
