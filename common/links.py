"""Which links and icon addresses a dapp may put into what people receive."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

from common.outbound_urls import FORBIDDEN, is_exempt
from walletconnect.identity.web_host import normalize_host

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class NotALink(ValueError):
    """The address may not be sent; the text is the reason."""


def check_link(url: str) -> None:
    """Raise ``NotALink`` unless ``url`` is an absolute https address.

    Plain http is accepted for development and for hosted dapps only: loopback names, the
    hosts of ``OUTBOUND_ALLOW``, and the host of ``PUBLIC_URL``.
    """
    if not url.isprintable() or any(each in url for each in FORBIDDEN):
        raise NotALink("a link has no spaces, quotation marks or backslashes")
    try:
        parts = urlsplit(url)
        host = normalize_host(parts.hostname or "")
        _ = parts.port
    except ValueError:
        raise NotALink(
            "a link must be a complete address such as https://a.example/b"
        ) from None
    if "@" in parts.netloc:
        raise NotALink("a link must not carry a user name")
    is_own = host in LOOPBACK or is_exempt(host)
    is_own = is_own or host == urlsplit(settings.PUBLIC_URL).hostname
    if parts.scheme != "https" and not (parts.scheme == "http" and is_own):
        raise NotALink("a link must begin with https://")
