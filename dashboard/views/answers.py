"""How a view answers a form: a redirect without script, rows and a sentence with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect

from dashboard.access import safe_next

if TYPE_CHECKING:
    from django.http import HttpRequest


def is_partial(request: HttpRequest) -> bool:
    """Whether the page's script sent the form and places what we answer."""
    return bool(getattr(request, "htmx", False))


def done(
    request: HttpRequest,
    words: str,
    *,
    html: str = "",
    otherwise: str,
    undo: str = "",
) -> HttpResponse:
    """``undo`` is what the button "Undo" sends as ``act``."""
    if is_partial(request):
        heard = json.dumps({"done": {"words": words, "undo": undo}})
        return HttpResponse(html, headers={"HX-Trigger": heard})
    if words:
        messages.success(request, words)
    return HttpResponseRedirect(
        safe_next(request, request.POST.get("next", ""), otherwise)
    )
