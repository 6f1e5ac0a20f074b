"""How a view answers a form: a redirect without script, rows and a sentence with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect

from dashboard.access import safe_next
from dashboard.frame import page

if TYPE_CHECKING:
    from django.http import HttpRequest

    from dashboard.access import MemberRequest


def is_partial(request: HttpRequest) -> bool:
    """Whether the page's script sent the form and places what we answer."""
    return bool(getattr(request, "htmx", False))


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A destructive act, explained before it is carried out.

    The page is the GET of the act's own address; its button is the POST. So it works
    without a script and can be left without consequences.
    """

    title: str
    button: str
    cancel: str
    effects: tuple[str, ...]
    # Fields that the POST needs beside the token of the form.
    fields: tuple[tuple[str, str], ...] = ()
    # A sentence to tick; what cannot be undone wants more than one press.
    tick: str = ""
    problem: str = ""


def confirmation(
    request: MemberRequest,
    section: str,
    asked: Confirmation,
    *,
    status: int = 200,
) -> HttpResponse:
    return page(request, "confirm", section=section, asked=asked, status=status)


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
