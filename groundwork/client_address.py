"""Who is calling, for rate limits: one key per caller that cannot be chosen freely.

reliability.md, item 24. ``X-Forwarded-For`` counts only as far as the proxies in front of
us wrote it: each adds one entry at the end, and ``settings.TRUSTED_PROXIES`` says how many
there are. An IPv6 caller has a whole /64 to itself, so the /64 is what is counted.
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
    addresses = [request.META.get("REMOTE_ADDR", "")]
    if settings.TRUSTED_PROXIES:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        addresses = forwarded[-settings.TRUSTED_PROXIES :]
    try:
        return counted(ipaddress.ip_address(addresses[0].strip()))
    except ValueError:
        return UNKNOWN


def counted(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, COUNTED_BITS), strict=False))
