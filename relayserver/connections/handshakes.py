"""The limit on connections that have not finished their handshake.

Until then a connection has proven nothing and costs an open file and up to 16 KB of request
head for `OPEN_TIMEOUT_S`, so that a client that opens many and sends nothing could take the
files of all others.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from common.clients import has_own_address

if TYPE_CHECKING:
    from common.limits import Limits


class Handshakes:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()
        self._total = 0

    def begin(self, address: str) -> bool:
        """Count a new connection; returns False if there are too many already."""
        limits = self._limits
        if self._total >= limits.relay_handshakes or (
            has_own_address(address)
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
