"""The client address of a request, and the key under which limits count it.

The address comes from the connection, or from ``X-Forwarded-For`` behind
``settings.TRUSTED_PROXIES`` proxies. Entries that those proxies did not write are ignored,
since a client can send any. An IPv6 client usually owns a /64, so that counts as one.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from django.http import HttpRequest

IPV6_PREFIX_BITS = 64
UNKNOWN = "unknown"


def client_address(request: HttpRequest) -> str:
    """The address of the client itself, or of the outermost proxy we trust."""
    return address_behind(
        request.META.get("REMOTE_ADDR", ""),
        forwarded=request.headers.get("X-Forwarded-For", ""),
    )


def rate_key(request: HttpRequest) -> str:
    """The key under which limits count this client."""
    return subnet_key(client_address(request))


def address_behind(peer: str, *, forwarded: str) -> str:
    proxies: int = settings.TRUSTED_PROXIES
    if not proxies:
        return peer
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
    return hops[-proxies] if len(hops) >= proxies else peer


def is_limited(address: str) -> bool:
    """Whether limits per address apply.

    Loopback is exempt: it is our own gateway, whose lanes subscribe the topics of all
    accounts, or a reverse proxy without ``TRUSTED_PROXIES``, which is all its clients.
    """
    try:
        return not ipaddress.ip_address(address.split("%")[0]).is_loopback
    except ValueError:
        return True


def has_own_address(peer: str) -> bool:
    """Whether the peer of a connection may be limited before it has sent anything.

    Behind a proxy all connections have the address of the proxy.
    """
    return not settings.TRUSTED_PROXIES and is_limited(peer)


def shortened(address: str) -> str:
    """The /24 of an IPv4 address, the /48 of an IPv6 address: a network, not a person."""
    key = subnet_key(address).partition("/")[0]
    if key == UNKNOWN:
        return UNKNOWN
    found = ipaddress.ip_address(key)
    if found.is_loopback:
        return str(found)
    bits = 24 if found.version == 4 else 48
    return str(ipaddress.ip_network(f"{found}/{bits}", strict=False))


def subnet_key(address: str) -> str:
    """The IPv4 address, the /64 of an IPv6 address, or one key for everything else."""
    try:
        found = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), IPV6_PREFIX_BITS), strict=False))
