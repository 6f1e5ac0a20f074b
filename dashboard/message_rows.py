"""Message rows as HTML, and the list of them with its days.

A page has sixty rows and a batch of live updates hundreds, so a row is a text that is filled
in: the template is rendered once per language and state of a row, with names in braces
where the values go.
"""

from __future__ import annotations

import functools
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Final

from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language

from dashboard.templatetags import look

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dashboard.pages.message_rows import MessageRow

MAX_BODY: Final = 320
# What differs from row to row of one state.
FIELDS: Final = (
    "account",
    "address",
    "body",
    "dapp",
    "dapp_url",
    "iso",
    "pk",
    "query",
    "selected",
    "snoozed_until",
    "sort",
    "tile",
    "time",
    "title",
    "type",
    "type_name",
)


def message_rows(
    rows: Iterable[MessageRow], *, query: str = "", selected_pk: int | None = None
) -> SafeString:
    """The rows, one after another. ``query`` is the list's, for links to messages."""
    language = get_language()
    query = escape(f"?{query}") if query else ""
    parts = []
    for row in rows:
        at = timezone.localtime(row.published_at)
        body = row.body
        if len(body) > MAX_BODY:
            body = body[: MAX_BODY - 1] + "…"
        pattern = _pattern(
            language,
            is_read=row.is_read,
            is_archived=row.is_archived,
            is_snoozed=row.snoozed_until is not None,
        )
        parts.append(
            pattern.format(
                pk=row.pk,
                query=query,
                selected=" is-selected" if row.pk == selected_pk else "",
                sort=look.epoch(row.published_at),
                account=row.account_pk,
                dapp_url=escape(row.dapp_url),
                dapp=escape(row.dapp),
                type=escape(row.type),
                type_name=escape(row.type_name),
                tile=look.tile(row.dapp, icon=row.icon),
                title=escape(row.title),
                body=escape(body),
                snoozed_until=look.when(row.snoozed_until, "full"),
                address=look.address(row.address),
                iso=row.published_at.isoformat(timespec="milliseconds"),
                time=f"{at:%H:%M}",
            )
        )
    return mark_safe("".join(parts))  # noqa: S308  (every value is escaped above)


def message_list(
    rows: Iterable[MessageRow], *, query: str, selected_pk: int | None
) -> SafeString:
    """The rows with a heading before the first one of each day of the reader's zone."""
    parts = []
    for _, day in groupby(
        rows, lambda row: timezone.localtime(row.published_at).date()
    ):
        of_day = list(day)
        heading = look.when(of_day[0].published_at, "day")
        parts.append(f'<li class="day"><h2>{heading}</h2></li>')
        parts.append(message_rows(of_day, query=query, selected_pk=selected_pk))
    return mark_safe("".join(parts))  # noqa: S308


@functools.lru_cache(maxsize=64)
def _pattern(language: str | None, **state: bool) -> str:
    """The template with ``{title}`` for the title, and so on.

    ``language`` is the active one; here it is only a key of the cache.
    """
    fields = {name: mark_safe(f"{{{name}}}") for name in FIELDS}  # noqa: S308
    return render_to_string("components/message_row.html", {**fields, **state})
