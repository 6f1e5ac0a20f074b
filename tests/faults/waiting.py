"""Waiting on a system that is being broken: errors on the way are part of the test."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import httpx
from django.db import Error as DatabaseError
from django.db import close_old_connections, connections

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 0.1
# The promise: whatever fails, everything goes on by itself within a minute.
RECOVERY_S = 60.0
AWAY = (DatabaseError, httpx.HTTPError, OSError)

_Result = TypeVar("_Result")


class NotRecovered(AssertionError):
    """Something did not come true within the promised time."""


def wait_for(
    what: str, condition: Callable[[], _Result], timeout: float = RECOVERY_S
) -> _Result:
    """The first true result; a system that does not answer counts as not yet."""
    deadline = time.monotonic() + timeout
    last: object = ""
    while True:
        try:
            if found := condition():
                return found
        except AWAY as error:
            last = error
            close_connections()
        if time.monotonic() > deadline:
            raise NotRecovered(f"{what}: not within {timeout:.0f} s {last}".rstrip())
        time.sleep(POLL_S)


def insist(call: Callable[[], _Result], timeout: float = RECOVERY_S) -> _Result:
    """Call until it succeeds, as a person presses again and a program retries."""
    found = wait_for("an answer", lambda: [call()], timeout)
    return found[0]


def close_connections() -> None:
    close_old_connections()
    connections.close_all()
