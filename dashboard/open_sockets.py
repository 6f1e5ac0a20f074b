"""How many live sockets are open: in all, per address and per user.

Each costs a few tens of kilobytes and two queries per heartbeat, so that one person with many
could slow everybody down. The counts are of this process.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.conf import settings

from common.clients import address_behind, subnet_key

if TYPE_CHECKING:
    from collections.abc import Mapping


def address_of(scope: Mapping[str, Any]) -> str:
    """The key under which limits count the client of a socket; empty for loopback, which
    may be a reverse proxy that stands for all clients."""
    peer = (scope.get("client") or [""])[0]
    forwarded = ",".join(
        value.decode("latin-1")
        for name, value in scope.get("headers", ())
        if name == b"x-forwarded-for"
    )
    key = subnet_key(address_behind(peer, forwarded=forwarded))
    try:
        return "" if ipaddress.ip_address(key).is_loopback else key
    except ValueError:
        return key


class OpenSockets:
    def __init__(self) -> None:
        # A socket's address, and its user once that is known.
        self._open: dict[object, tuple[str, int | None]] = {}
        self._addresses: Counter[str] = Counter()
        self._users: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, socket: object, address: str) -> bool:
        """Count a socket; False, and nothing is counted, if there are too many."""
        limits = settings.LIMITS
        if len(self._open) >= limits.live_sockets or (
            address and self._addresses[address] >= limits.live_sockets_per_address
        ):
            return False
        self._open[socket] = (address, None)
        self._addresses[address] += 1
        return True

    def assign(self, socket: object, user_id: int) -> bool:
        """The socket is of this user; False if the user has too many."""
        if self._users[user_id] >= settings.LIMITS.live_sockets_per_user:
            return False
        self._open[socket] = (self._open[socket][0], user_id)
        self._users[user_id] += 1
        return True

    def remove(self, socket: object) -> None:
        """A socket that was not counted may be removed, too."""
        address, user_id = self._open.pop(socket, (None, None))
        if address is not None:
            _decrement(self._addresses, address)
        if user_id is not None:
            _decrement(self._users, user_id)


def _decrement(counter: Counter[Any], key: object) -> None:
    """Subtract one; keys of closed sockets do not stay."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


open_sockets = OpenSockets()
