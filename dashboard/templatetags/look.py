"""Template tags for icons, times, addresses and charts.

Everything is rendered on the server: pages load nothing from other hosts, and the content
security policy allows neither inline styles nor inline scripts.
"""

from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import lucide
from django import template
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from dashboard import appearance
from dashboard.formatting import format_time
from dashboard.frame import format_count
from dashboard.pages import message_rows
from dashboard.pages.qr import MAX_TEXT_LENGTH, qr_svg
from dashboard.reasons import translate_reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dashboard.formatting import TimeForm
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


@register.simple_tag
# Every row of a list repeats the same few icons.
@functools.lru_cache(maxsize=512)
def icon(name: str, size: int = 18) -> SafeString:
    """A lucide icon. Hidden from screen readers: there is always a label beside it."""
    drawn = lucide._render_icon(name, size, aria_hidden="true", focusable="false")
    return mark_safe(drawn)  # noqa: S308  (markup from the package)


@register.simple_tag
def qr(text: str, label: str) -> SafeString:
    """A QR code; nothing for a text that is too long for one."""
    return qr_svg(text, label) if len(text) <= MAX_TEXT_LENGTH else SafeString("")


@register.simple_tag
def sprite(name: str, size: int = 18) -> SafeString:
    """An icon that ``sprites`` has drawn on the page: a tenth of its bytes in every row."""
    return format_html(
        '<svg width="{0}" height="{0}" aria-hidden="true" focusable="false">'
        '<use href="#icon-{1}"/></svg>',
        size,
        name,
    )


@register.simple_tag
@functools.lru_cache(maxsize=16)
def sprites(*names: str) -> SafeString:
    """The icons that rows of this page refer to. Colour and width of the lines are those
    of ``icon``; the size is that of the place."""
    drawn = "".join(
        f'<symbol id="icon-{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor"'
        ' stroke-width="2" stroke-linecap="round" stroke-linejoin="round">'
        f"{icon(name).partition('>')[2].replace('</svg>', '')}</symbol>"
        for name in names
    )
    return mark_safe(f'<svg class="sprites" aria-hidden="true">{drawn}</svg>')  # noqa: S308


register.filter("reason", translate_reason)


@register.filter
def type_name(record: NotifyMessageRecord) -> str:
    """The name of a notification's type, if ``records_of`` annotated the record."""
    return message_rows.type_name(record.type, getattr(record, "offered_types", None))


@register.filter
def named(type_id: str, names: dict[str, str]) -> str:
    """The name of a project's type; the id if the type was deleted."""
    return names.get(type_id, type_id)


@register.simple_tag
def mark(size: int = 24) -> SafeString:
    """The product's logo."""
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
    # Ethereum is written with and without its chain; the picture is the same.
    text = str(address).removeprefix("eip155:1:")
    return mark_safe(_identicon(text, size))  # noqa: S308  (numbers only)


@functools.lru_cache(maxsize=2048)
def _identicon(address: str, size: int) -> str:
    """Six by six squares, mirrored, from the hash of the address."""
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
@functools.lru_cache(maxsize=2048)
def tile(name: str, size: str = "", icon: str = "") -> SafeString:
    """The dapp's picture with the digest ``icon``, or its first letter on a colour derived
    from its name. Pictures come from this server (``subscriptions.services.dapps.icons``):
    loading them from the dapp would reveal the reader's address to it."""
    if icon:
        return format_html(
            '<img class="tile tile--picture{}" src="{}" alt="" width="36" height="36"'
            ' loading="lazy" decoding="async">',
            f" tile--{size}" if size else "",
            reverse("dashboard:icon", args=[icon]),
        )
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
    """A shortened address with the full one in ``title``."""
    return _address(str(getattr(account, "chain_address", account)).rpartition(":")[2])


@functools.lru_cache(maxsize=2048)
def _address(text: str) -> SafeString:
    return format_html(
        '<span class="address" title="{}">{}</span>', text, short_address(text)
    )


@register.filter
def short_address(text: str) -> str:
    last = str(text).rpartition(":")[2]
    return last if len(last) <= 12 else f"{last[:4]}…{last[-4:]}"


@register.filter
def short_key(text: str) -> str:
    """The first and last characters of a topic, a digest or a did:key."""
    last = str(text).rpartition(":")[2]
    return last if len(last) <= 16 else f"{last[:8]}…{last[-6:]}"


@register.filter
def host(url: str) -> str:
    return str(url).partition("://")[2].partition("/")[0] or str(url)


# Times ------------------------------------------------------------------------------


@register.simple_tag
def when(value: datetime | int | None, form: TimeForm = "ago") -> SafeString:
    """A ``<time>``: ``ago``, ``time`` (14:02), ``clock`` (14:02:11), ``day`` or ``full``.

    ``times.js`` rewrites the text in the browser's time zone and updates "5 min ago";
    ``title`` and ``datetime`` are absolute.
    """
    if value is None:
        return SafeString("")
    if not isinstance(value, datetime):
        value = datetime.fromtimestamp(value / 1000, tz=UTC)
    local = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}" data-when="{}">{}</time>',
        value.astimezone(UTC).isoformat(timespec="milliseconds"),
        format_time(local, "long"),
        form,
        format_time(local, form),
    )


@register.simple_tag
def local_time(value: datetime, zone: str) -> SafeString:
    """A ``<time>`` in the zone in which it was entered, with its offset."""
    local = value.astimezone(ZoneInfo(zone or "UTC"))
    offset = f"{local:%z}"
    return format_html(
        '<time datetime="{}">{} {} (UTC{}:{})</time>',
        value.astimezone(UTC).isoformat(timespec="seconds"),
        format_time(local, "full"),
        zone or "UTC",
        offset[:3],
        offset[3:],
    )


@register.filter
def epoch(value: datetime) -> int:
    """Milliseconds since 1970; the browser sorts rows by them."""
    return int(value.timestamp() * 1000)


@register.filter
def milliseconds(value: float | None) -> str:
    """A duration: ``38 ms``, ``1.4 s``, ``3 min``."""
    if value is None:
        return ""
    if value < 1000:
        return f"{value:.0f} ms"
    if value < 60_000:
        return f"{number_format(value / 1000, 1)} s"
    return f"{value / 60_000:.0f} min"


# Text and boxes -----------------------------------------------------------------------


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
    """A bar per value; the label lists the values for screen readers."""
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
    """The current query string with parameters replaced; empty values are removed."""
    request = context.get("request")
    parameters = request.GET.copy() if request else QueryDict(mutable=True)
    for name, value in changes.items():
        parameters.pop(name, None)
        if value not in (None, ""):
            parameters[name] = str(value)
    text = parameters.urlencode()
    return f"?{text}" if text else "?"


register.filter(format_count)


@register.filter
def lookup(table: dict[str, Any], key: str) -> Any:
    return table.get(key)
