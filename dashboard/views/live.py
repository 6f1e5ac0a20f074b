"""Live updates over HTTP, polled by browsers whose WebSocket is blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import JsonResponse
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from dashboard import appearance
from dashboard.access import member
from dashboard.live import Cursor, next_batch

if TYPE_CHECKING:
    from django.http import HttpResponse

    from dashboard.access import MemberRequest


@member
@require_safe
def events(request: MemberRequest) -> HttpResponse:
    cursor = Cursor.of(
        request.GET.get("generation", ""), request.GET.get("sequence", "")
    )
    batch = next_batch(
        request.user.pk,
        cursor,
        zone=appearance.zone_of(request.COOKIES),
        language=get_language() or "",
    )
    return JsonResponse(batch.to_value())
