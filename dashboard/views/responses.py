"""Responses to forms: HTML rows for htmx requests, otherwise a redirect; and downloads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.utils.html import format_html

from dashboard.access import safe_next
from dashboard.frame import page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from django.http import HttpRequest

    from dashboard.access import MemberRequest

MAX_HEADER_UNDO: Final = 1_000


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Explains a destructive action before it is carried out.

    The page is the GET of the action's own URL and its button the POST, so that it works
    without JavaScript.
    """

    title: str
    button: str
    cancel: str
    effects: tuple[str, ...]
    # Hidden fields that the POST needs.
    fields: tuple[tuple[str, str], ...] = ()
    # Label of a required check box, for actions that cannot be undone.
    tick: str = ""
    problem: str = ""
    # URL and text of a link below the effects.
    more: tuple[str, str] = ("", "")


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
    text: str,
    *,
    html: str = "",
    default: str,
    undo: str = "",
) -> HttpResponse:
    """``undo`` is the value of ``act`` that the "Undo" button submits. A long one goes into
    the undo form instead of a header, which proxies limit to a few kilobytes. Without
    JavaScript the button is in the message at the top of the next page."""
    if getattr(request, "htmx", False):
        if len(undo) > MAX_HEADER_UNDO:
            html += format_html(
                '<input type="hidden" name="act" id="undo-act" value="{}">', undo
            )
            undo = "form"
        # HTTP headers are ASCII; json.dumps escapes other characters.
        trigger = json.dumps({"done": {"text": text, "undo": undo}})
        return HttpResponse(html, headers={"HX-Trigger": trigger})
    messages.success(request, text, extra_tags=undo)
    return HttpResponseRedirect(
        safe_next(request, request.POST.get("next", ""), default)
    )


def download(
    request: HttpRequest, chunks: Iterator[bytes], *, name: str, content_type: str
) -> HttpResponse:
    """A file that is made while it is sent."""
    response = StreamingHttpResponse(
        # Django would collect a synchronous iterator in memory before it sends anything.
        _asynchronously(chunks) if isinstance(request, ASGIRequest) else chunks,
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
            # Against GZipMiddleware, which would compress each chunk into a stream of its
            # own: Chromium keeps the first one and drops the rest of the file.
            "Content-Encoding": "identity",
        },
    )
    return cast("HttpResponse", response)


async def _asynchronously(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    following = sync_to_async(lambda: next(chunks, None))
    while (chunk := await following()) is not None:
        yield chunk
