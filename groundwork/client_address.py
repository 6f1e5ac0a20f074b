"""Who is calling, for rate limits: one key per caller that cannot be chosen freely.

reliability.md, item 24. ``X-Forwarded-For`` counts only as far as proxies of
``settings.TRUSTED_PROXIES`` wrote it. An IPv6 caller has a whole /64 to itself, so the
/64 is what is counted.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from django.http import HttpRequest

    from groundwork.addresses import Address

UNKNOWN = "unknown"
COUNTED_BITS = 64


def client_address(request: HttpRequest) -> str:
    """The caller's address as a rate limit counts it: an IPv4 address, an IPv6 /64."""
    address = _parse(request.META.get("REMOTE_ADDR", ""))
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    while forwarded and address is not None and _is_proxy(address):
        before = _parse(forwarded.pop().strip())
        if before is None:
            break
        address = before
    return UNKNOWN if address is None else counted(address)


def counted(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, COUNTED_BITS), strict=False))


def _parse(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_proxy(address: Address) -> bool:
    return any(
        address in ipaddress.ip_network(network, strict=False)
        for network in settings.TRUSTED_PROXIES
    )
