"""QR codes, drawn on the server: pages load no script for them and nothing from outside."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

import segno
from django.conf import settings
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

# Version 40 with error correction M holds 2,331 bytes; a code that large is not scanned.
MAX_TEXT_LENGTH: Final = 1_000


def qr_svg(text: str, label: str) -> SafeString:
    """``text`` as inline SVG, dark on white in every theme: scanners need the contrast.

    ``label`` is the name for screen readers.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f"{len(text)} characters are too many for a code")
    drawn = segno.make(text, error="m", micro=False).svg_inline(
        border=4,
        dark="#000",
        light="#fff",
        omitsize=True,
        svgclass="qr",
        lineclass=None,
        title=label,
    )
    # For screen readers the picture is one image with the title as its name.
    return mark_safe(drawn.replace("<svg ", '<svg role="img" ', 1))  # noqa: S308


def subscribe_link(dapp_url: str) -> str:
    """The address on this server at which anybody signed in may subscribe to the dapp."""
    query = urlencode({"url": dapp_url})
    return f"{settings.PUBLIC_URL}{reverse('dashboard:discover-choose')}?{query}"
