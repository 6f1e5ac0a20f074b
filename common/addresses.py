"""Which Internet addresses belong to the public: the rule behind ``outbound``.

Spec: IANA IPv4 and IPv6 Special-Purpose Address Registries. An IPv6 address that
carries an IPv4 address (mapped, NAT64, 6to4) is as public as the one it carries.
"""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Global by the library's table, but tunnels, relays or long withdrawn.
NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.88.99.0/24",
        "::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "fec0::/10",
    )
)


def is_public(address: Address) -> bool:
    """Whether ``address`` is the same host from everywhere on the Internet."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if carried is not None:
            return is_public(carried)
    if any(address.version == net.version and address in net for net in NEVER):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
