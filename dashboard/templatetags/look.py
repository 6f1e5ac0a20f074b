"""Small pieces of markup that every page uses: icons, times, addresses, pictures.

All drawn on the server: nothing is loaded from elsewhere, and the content security policy
admits neither inline styles nor inline scripts.
"""

from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import lucide
from django import template
from django.http import QueryDict
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from common import clock
from dashboard import appearance, frame
from dashboard.pages import inbox as pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subscriptions.models import NotifyMessageRecord

register = template.Library()

TONES = 6
BANNERS = {
    "success": ("ok", "circle-check"),
    "ok": ("ok", "circle-check"),
    "warning": ("warn", "triangle-alert"),
    "warn": ("warn", "triangle-alert"),
    "error": ("danger", "circle-alert"),
    "danger": ("danger", "circle-alert"),
    "accent": ("accent", "info"),
}


@functools.lru_cache(maxsize=512)
def _icon(name: str, size: int) -> str:
    return lucide._render_icon(name, size, aria_hidden="true", focusable="false")


@register.simple_tag
def icon(name: str, size: int = 18) -> SafeString:
    """A lucide icon; always beside words, hence hidden from screen readers."""
    return mark_safe(_icon(str(name), size))  # noqa: S308  (drawn from the package)


@register.filter
def type_name(record: NotifyMessageRecord) -> str:
    """The name of a notification's type, where ``records_of`` read the record."""
    return pages.type_name(record.type, getattr(record, "offered_types", None))


@register.filter
def named(type_id: str, names: dict[str, str]) -> str:
    """The name of a type of a project; one that it has no more, by its id."""
    return names.get(type_id, type_id)


@register.simple_tag
def mark(size: int = 24) -> SafeString:
    """The mark of the product: two devices that hold the same thing."""
    return format_html(
        '<svg width="{0}" height="{0}" viewBox="0 0 24 24" fill="none"'
        ' stroke="currentColor" stroke-width="2" stroke-linejoin="round"'
        ' aria-hidden="true"><path d="M8 7V5a2 2 0 0 1 2-2h9a2 2 0 0 1 2 2v9a2 2 0 0'
        ' 1-2 2h-2"/><rect x="3" y="8" width="13" height="13" rx="2"/>'
        '<circle cx="9.5" cy="14.5" r="2.25" fill="currentColor" stroke="none"/></svg>',
        size,
    )


@register.simple_tag
def identicon(address: str, size: int = 24) -> SafeString:
    return mark_safe(_identicon(str(address), size))  # noqa: S308  (numbers only)


@functools.lru_cache(maxsize=2048)
def _identicon(address: str, size: int) -> str:
    """Six by six squares, left and right alike, from the hash of the address."""
    digest = hashlib.sha256(address.lower().encode()).digest()
    hue, other = digest[0] * 360 // 256, digest[1] * 360 // 256
    squares: list[str] = []
    for place in range(18):
        ink = digest[2 + place] % 5
        if ink < 2:
            continue
        row, column = divmod(place, 3)
        fill = f"hsl({hue} 55% 52%)" if ink < 4 else f"hsl({other} 60% 38%)"
        squares.extend(
            f'<rect x="{x}" y="{row}" width="1" height="1" fill="{fill}"/>'
            for x in (column, 5 - column)
        )
    return (
        f'<svg class="identicon" width="{size}" height="{size}" viewBox="0 0 6 6"'
        f' shape-rendering="crispEdges" aria-hidden="true">{"".join(squares)}</svg>'
    )


@register.simple_tag
def tile(name: str, size: str = "") -> SafeString:
    """The first letter of a dapp on a tone of its own: icons of dapps are not loaded
    from where the dapp says, and not every dapp has one."""
    text = str(name).strip() or "?"
    tone = hashlib.sha256(text.encode()).digest()[0] % TONES + 1
    extra = f" tile--{size}" if size else ""
    return format_html(
        '<span class="tile{}" data-tone="{}" aria-hidden="true">{}</span>',
        extra,
        tone,
        text[0],
    )


@register.simple_tag
def address(account: Any) -> SafeString:
    """A short address; the whole one on hover and for screen readers."""
    text = str(getattr(account, "chain_address", account)).rpartition(":")[2]
    return format_html(
        '<span class="address" title="{}">{}</span>', text, short_address(text)
    )


@register.filter
def short_address(text: str) -> str:
    last = str(text).rpartition(":")[2]
    return last if len(last) <= 12 else f"{last[:4]}…{last[-4:]}"


@register.filter
def short_key(text: str) -> str:
    """The beginning and the end of a topic, a digest or a did:key."""
    last = str(text).rpartition(":")[2]
    return last if len(last) <= 16 else f"{last[:8]}…{last[-6:]}"


@register.filter
def host(url: str) -> str:
    return str(url).partition("://")[2].partition("/")[0] or str(url)


# Times ------------------------------------------------------------------------------


@register.simple_tag
def when(value: datetime | int | None, form: str = "ago") -> SafeString:
    """A ``<time>``: ``ago``, ``time`` (14:02), ``clock`` (14:02:11), ``day`` or ``full``.

    The browser's script writes the words again in its own time zone and keeps "5 min"
    true; ``title`` and ``datetime`` are always absolute.
    """
    if value is None:
        return SafeString("")
    moment = value if isinstance(value, datetime) else _of_milliseconds(value)
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}" data-when="{}">{}</time>',
        moment.astimezone(UTC).isoformat(timespec="milliseconds"),
        f"{local:%-d %B %Y, %H:%M:%S %Z}",
        form,
        words_for(local, form, now=timezone.localtime(clock.now())),
    )


def _of_milliseconds(value: int) -> datetime:
    return datetime.fromtimestamp(value / 1000, tz=UTC)


def words_for(local: datetime, form: str, *, now: datetime) -> str:
    if form == "time":
        return f"{local:%H:%M}"
    if form == "clock":
        return f"{local:%H:%M:%S}"
    if form == "full":
        return f"{local:%-d %b %Y, %H:%M}"
    if form == "day":
        return day_words(local, now=now)
    return _ago(local, now)


def _ago(local: datetime, now: datetime) -> str:
    seconds = (now - local).total_seconds()
    if seconds < -60:
        return _ahead(-seconds, local)
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86400:
        return f"{int(seconds // 3600)} h ago"
    return f"{local:%-d %b}" if local.year == now.year else f"{local:%-d %b %Y}"


def _ahead(seconds: float, local: datetime) -> str:
    if seconds < 3600:
        return f"in {int(seconds // 60)} min"
    if seconds < 86400:
        return f"in {int(seconds // 3600)} h"
    return f"{local:%-d %b %Y}"


def day_words(local: datetime, *, now: datetime) -> str:
    if local.date() == now.date():
        return "Today"
    if local.date() == (now - timedelta(days=1)).date():
        return "Yesterday"
    if local.year == now.year:
        return f"{local:%A, %-d %B}"
    return f"{local:%-d %B %Y}"


@register.filter
def epoch(value: datetime) -> int:
    """Milliseconds, by which the browser keeps rows in order."""
    return int(value.timestamp() * 1000)


@register.filter
def day_of(value: datetime) -> str:
    """The day in the reader's time zone, for groups of rows."""
    return f"{timezone.localtime(value):%Y-%m-%d}"


@register.filter
def milliseconds(value: float | None) -> str:
    """A duration for people: ``38 ms``, ``1.4 s``, ``3 min``."""
    if value is None:
        return ""
    if value < 1000:
        return f"{value:.0f} ms"
    if value < 60_000:
        return f"{value / 1000:.1f} s"
    return f"{value / 60_000:.0f} min"


# Words and boxes ----------------------------------------------------------------------


@register.filter
def banner_tone(tone: str) -> str:
    return BANNERS.get(str(tone), ("", ""))[0] or "plain"


@register.filter
def banner_icon(tone: str) -> str:
    return BANNERS.get(str(tone), ("", "info"))[1]


@register.simple_tag(takes_context=True)
def theme(context: template.Context) -> str:
    request = context.get("request")
    return appearance.theme_of(request.COOKIES) if request else "system"


@register.simple_tag(takes_context=True)
def density(context: template.Context) -> str:
    request = context.get("request")
    return appearance.density_of(request.COOKIES) if request else "comfortable"


@register.simple_tag
def bars(values: Sequence[int], label: str) -> SafeString:
    """A small bar per value, with the numbers in words for those who do not see it."""
    highest = max([*values, 1])
    width = 100 / max(len(values), 1)
    drawn = [
        f'<rect x="{place * width + 1:.2f}" y="{22 - height:.2f}" width="{width - 2:.2f}"'
        f' height="{height:.2f}" rx="1"{" data-zero" if not value else ""}/>'
        for place, value in enumerate(values)
        for height in (max(2.0, 22 * value / highest),)
    ]
    return format_html(
        '<svg class="bars" viewBox="0 0 100 22" preserveAspectRatio="none" role="img"'
        ' aria-label="{}: {}">{}</svg>',
        label,
        ", ".join(str(value) for value in values),
        mark_safe("".join(drawn)),  # noqa: S308  (numbers only)
    )


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: object) -> str:
    """The present address with other parameters; empty ones leave it."""
    request = context.get("request")
    parameters = request.GET.copy() if request else QueryDict(mutable=True)
    for name, value in changes.items():
        parameters.pop(name, None)
        if value not in (None, ""):
            parameters[name] = str(value)
    text = parameters.urlencode()
    return f"?{text}" if text else "?"


@register.filter
def count_words(number: int) -> str:
    return frame.count_words(number)


@register.filter
def plural(number: int, words: str) -> str:
    """``{{ 3|plural:"device,devices" }}`` is "3 devices"."""
    one, _, many = words.partition(",")
    return f"{number} {one if number == 1 else many}"


@register.filter
def lookup(table: dict[str, Any], key: str) -> Any:
    return table.get(key)


@register.filter
def break_at(text: str, every: str) -> SafeString:
    """Lets a long path break after the given sign."""
    return mark_safe(escape(text).replace(every, f"{every}<wbr>"))  # noqa: S308
