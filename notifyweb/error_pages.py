"""The page that a browser gets for an error: what happened, what to do, the request's id.

One template for all of them. It works without JavaScript, session and database: the fault
may be there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from django.core.exceptions import DisallowedHost
from django.template.loader import render_to_string
from django.utils.html import escape
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext, gettext_lazy, ngettext

from common.problem_types import PROBLEM_TYPES
from common.problems import Problem, request_id

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django_stubs_ext import StrPromise

logger = logging.getLogger(__name__)

_ = gettext_lazy
# Above it, a wait is shown in minutes.
MAX_SECONDS_SHOWN: Final = 120
# Sent again later, the same request may succeed.
PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})

# Title and text by type of the problem, then by status.
_WORDS: Final[dict[str | int, tuple[StrPromise, StrPromise]]] = {
    "csrf": (
        _("The form was too old"),
        _(
            "It was loaded before you signed in or out in another tab, or this browser "
            "blocks cookies. Nothing was changed. Load the page again and send the form "
            "once more; “Back” in your browser still shows what you typed."
        ),
    ),
    "method": (
        _("This address cannot be opened"),
        _(
            "It only takes what a form sends. Nothing was changed. Open the page with "
            "the form instead."
        ),
    ),
    "unavailable": (
        _("Back in a moment"),
        _(
            "Too many uploads are running on this server right now. Nothing was changed."
        ),
    ),
    400: (
        _("That request was not understood"),
        _(
            "The address or the form contains an invalid value. Nothing was changed. "
            "Check the address, or start again from the inbox."
        ),
    ),
    403: (_("Not allowed"), _("You do not have access to this page.")),
    404: (
        _("There is nothing here"),
        _(
            "The address is wrong, the page was removed, or it belongs to another account."
        ),
    ),
    408: (
        _("That took too long"),
        _("The request did not arrive in time. Nothing was changed."),
    ),
    429: (
        _("Give it a moment"),
        _("There were too many requests. Nothing was changed."),
    ),
    500: (
        _("Something broke here"),
        _(
            "An error on this server, which was logged. Try again in a moment. If it "
            "stays, send the operator of this server the number below."
        ),
    ),
    503: (
        _("Back in a moment"),
        _(
            "The database or another part of this server is unavailable right now. No "
            "data is lost; try again in a few seconds."
        ),
    ),
}


def error_page(
    request: HttpRequest, problem: Problem, *, retry_after: str | None = None
) -> str:
    """The page as HTML; a bare one if the template fails, too."""
    title, text = _words_of(problem)
    context = {
        "problem": problem,
        "title": title,
        "text": text,
        "wait": _wait(retry_after),
        "back": _back(request),
        "is_passing": problem.status in PASSING,
        "is_read": request.method in {"GET", "HEAD"},
        "request_id": request_id(request),
        # Templates read the chosen appearance from its cookies. There are no context
        # processors: the fault may be in what they need.
        "request": request,
    }
    try:
        return str(render_to_string("error.html", context))
    except Exception:
        logger.exception("the page of an error cannot be rendered")
        return (
            "<!doctype html><html lang=en><meta charset=utf-8>"
            f"<title>{escape(title)}</title><h1>{escape(title)}</h1>"
            f"<p>{escape(text)}<p>{escape(request_id(request))}"
        )


def _words_of(problem: Problem) -> tuple[str, str]:
    if problem.type == "role":
        return gettext("Your role does not allow this"), problem.detail
    if problem.type == "too-large":
        text = gettext("What was sent is larger than this address takes.")
        remedy = gettext("Nothing was changed. Choose a smaller file, or split it.")
        return gettext("That is too large"), f"{text} {remedy}"
    words = _WORDS.get(problem.type) or _WORDS.get(problem.status)
    if words is not None:
        return str(words[0]), str(words[1])
    known = PROBLEM_TYPES.get(problem.type)
    text = f"{known.meaning} {known.remedy}" if known else problem.detail
    return gettext("That did not work"), text


def _wait(retry_after: str | None) -> str:
    if not retry_after or not retry_after.isdecimal():
        return ""
    seconds = int(retry_after)
    if seconds <= MAX_SECONDS_SHOWN:
        return ngettext(
            "Try again in %(count)d second.", "Try again in %(count)d seconds.", seconds
        ) % {"count": seconds}
    minutes = -(-seconds // 60)
    return ngettext(
        "Try again in %(count)d minute.", "Try again in %(count)d minutes.", minutes
    ) % {"count": minutes}


def _back(request: HttpRequest) -> str:
    """Where to try again: this page, or the page of the form that was sent.

    To open the address of a form's action would be the next error.
    """
    if request.method in {"GET", "HEAD"}:
        return request.get_full_path()
    referer = request.headers.get("Referer", "")
    if not referer:
        return ""
    try:
        hosts = {request.get_host()}
    except DisallowedHost:
        return ""
    if not url_has_allowed_host_and_scheme(referer, hosts):
        return ""
    parts = urlsplit(referer)
    return parts.path + (f"?{parts.query}" if parts.query else "")
