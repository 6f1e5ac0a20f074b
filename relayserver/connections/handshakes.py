"""The limit on connections that have not finished their handshake.

Until then a connection has proven nothing and costs an open file and up to 16 KB of request
head for `OPEN_TIMEOUT_S`, so that a client that opens many and sends nothing could take the
files of all others.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from common.limits import Limits


def is_limited(address: str) -> bool:
    """Whether limits per address apply.

    Loopback is exempt: it is our own gateway, whose lanes subscribe the topics of all
    accounts, or a reverse proxy without ``TRUSTED_PROXIES``, which is all its clients.
    """
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return True


class Handshakes:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()
        self._total = 0

    def begin(self, address: str) -> bool:
        """Count a new connection; returns False if there are too many already."""
        limits = self._limits
        # Behind a proxy all connections have the address of the proxy.
        has_own_address = not settings.TRUSTED_PROXIES and is_limited(address)
        if self._total >= limits.relay_handshakes or (
            has_own_address
            and self._by_address[address] >= limits.relay_handshakes_per_address
        ):
            return False
        self._total += 1
        self._by_address[address] += 1
        return True

    def end(self, address: str) -> None:
        self._total -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
