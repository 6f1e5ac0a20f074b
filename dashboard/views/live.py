"""What a browser without a socket asks every few seconds: the same frames over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import JsonResponse
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
    zone = appearance.zone_of(request.COOKIES)
    return JsonResponse(next_batch(request.user.pk, cursor, zone=zone).to_value())
