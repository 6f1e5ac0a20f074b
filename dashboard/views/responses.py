"""Responses to forms: HTML rows for htmx requests, otherwise a redirect; and downloads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, cast

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext

from dashboard.access import safe_next
from dashboard.frame import page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from django.http import HttpRequest

    from dashboard.access import MemberRequest

MAX_HEADER_UNDO: Final = 1_000


def confirmation(
    request: MemberRequest,
    section: str,
    *,
    title: str,
    button: str,
    cancel: str,
    effects: Sequence[str],
    fields: Sequence[tuple[str, str]] = (),
    tick: str = "",
    more: tuple[str, str] = ("", ""),
) -> HttpResponse:
    """A page that explains a destructive action before it is carried out.

    It is the GET of the action's own URL and its button the POST, so that it works without
    JavaScript. ``fields`` are hidden, ``more`` is the URL and text of a link below the
    effects. ``tick`` is the label of a required check box, for actions that cannot be
    undone; a POST without its ``confirm`` gets this page again.
    """
    is_unticked = request.method == "POST"
    return page(
        request,
        "confirm",
        section=section,
        title=title,
        button=button,
        cancel=cancel,
        effects=effects,
        fields=fields,
        tick=tick,
        more=more,
        problem=gettext("Tick the box to confirm.") if is_unticked else "",
        status=422 if is_unticked else 200,
    )


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
