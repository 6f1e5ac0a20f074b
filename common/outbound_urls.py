"""Which URLs the guarded HTTP client accepts, by their form alone.

https on port 443 of a public host; the hosts of ``settings.OUTBOUND_ALLOW`` may be private,
plain http and on any port. Names are checked again by their addresses when they are called.
"""

from __future__ import annotations

import ipaddress
import string
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from django.conf import settings

from common.addresses import is_public
from walletconnect.identity.web_host import normalize_host

HTTPS_PORT = 443
USUAL_PORTS = {"https": HTTPS_PORT, "http": 80}
MAX_URL = 2048
# RFC 3986 allows none of these anywhere, and parsers differ about what they mean.
FORBIDDEN = ' \\"<>'
# Names that no public DNS server answers: RFC 6761, 6762, 7686, 8375, and ICANN's
# reservation of `internal`. `example` and `test` are not here: tests and docs use them.
PRIVATE_SUFFIXES = (
    ".localhost",
    ".local",
    ".internal",
    ".invalid",
    ".onion",
    ".home.arpa",
)


class OutboundError(Exception):
    """A request without a usable answer."""


class OutboundRefused(OutboundError):
    """Our policy forbids it; trying again will not help."""


class OutboundFailed(OutboundError):
    """The network or the other side failed; trying again may help."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes; ``exempt`` hosts are named by ``OUTBOUND_ALLOW``."""

    scheme: str
    host: str
    port: int
    path: str
    exempt: bool

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == USUAL_PORTS[self.scheme]
        return host if usual else f"{host}:{self.port}"


def check_url(url: str) -> None:
    """Raise ``OutboundRefused`` if ``fetch`` would refuse this URL by its form.

    For every address that users, dapps and wallets give us to call.
    """
    target_of(url)


def is_exempt(host: str) -> bool:
    """Whether ``settings.OUTBOUND_ALLOW`` names this host."""
    return host in {name.strip("[]").lower() for name in settings.OUTBOUND_ALLOW}


def target_of(url: str) -> Target:
    """What to connect to for ``url``; raises ``OutboundRefused`` with the reason."""
    if len(url) > MAX_URL:
        raise OutboundRefused(f"the URL has more than {MAX_URL} characters")
    if not url.isprintable() or any(each in url for each in FORBIDDEN):
        raise OutboundRefused(
            "the URL is malformed: it has a space, a quotation mark, a backslash or a "
            "control character"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise OutboundRefused("the URL is malformed") from None
    if parts.scheme not in USUAL_PORTS or not parts.netloc:
        raise OutboundRefused("the URL does not begin with https://")
    if "@" in parts.netloc:
        raise OutboundRefused("the URL carries a user name")
    if "#" in url:
        raise OutboundRefused("the URL has a fragment (#), which is never sent")
    try:
        host = normalize_host(parts.hostname or "")
    except ValueError as error:
        raise OutboundRefused(str(error)) from None
    if port is None:
        port = USUAL_PORTS[parts.scheme]
    target = Target(parts.scheme, host, port, _path(parts), exempt=is_exempt(host))
    if target.exempt and port:
        return target
    if target.scheme != "https" or port != HTTPS_PORT:
        raise OutboundRefused("only https on port 443 is reached")
    _check_public(host)
    return target


def _check_public(host: str) -> None:
    """Refuse a host that is private by its text; names are resolved and checked later."""
    try:
        public = is_public(ipaddress.ip_address(host))
    except ValueError:
        # A name without a dot belongs to an inner network, as do the special-use names.
        public = "." in host and not host.endswith(PRIVATE_SUFFIXES)
    if not public:
        raise OutboundRefused("the host is not on the public Internet")


def _path(parts: SplitResult) -> str:
    """Path and query as they are sent; other letters are percent-encoded as UTF-8."""
    path = parts.path or "/"
    text = f"{path}?{parts.query}" if parts.query else path
    return text if text.isascii() else quote(text, safe=string.punctuation)
