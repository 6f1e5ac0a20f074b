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
# How often a long wait prints where it stands.
PROGRESS_S = 15.0
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


def wait_while_it_grows(
    what: str,
    count: Callable[[], int],
    wanted: int,
    *,
    stall_s: float = RECOVERY_S,
    limit_s: float,
) -> float:
    """Until ``count`` reaches ``wanted``; the longest time that it stood still.

    How much a machine does in a minute says nothing about recovery, so a backlog may take
    as long as it takes, up to ``limit_s``; standing still for ``stall_s`` fails.
    """
    began = changed = printed = time.monotonic()
    highest, longest = -1, 0.0
    last: object = ""
    while True:
        now = time.monotonic()
        try:
            found = count()
        except AWAY as error:
            found, last = highest, error
            close_connections()
        if found > highest:
            highest, changed = found, now
        longest = max(longest, now - changed)
        if highest >= wanted:
            return longest
        standing = f"{what}: {max(0, highest)} of {wanted}"
        if now - changed > stall_s:
            raise NotRecovered(
                f"{standing}, none more for {stall_s:.0f} s {last}".rstrip()
            )
        if now - began > limit_s:
            raise NotRecovered(f"{standing} after {limit_s:.0f} s {last}".rstrip())
        if now - printed > PROGRESS_S:
            printed = now
            print(f"  {standing} after {now - began:.0f} s", flush=True)
        time.sleep(POLL_S)


def insist(call: Callable[[], _Result], timeout: float = RECOVERY_S) -> _Result:
    """Call until it succeeds, as a person presses again and a program retries."""
    found = wait_for("an answer", lambda: [call()], timeout)
    return found[0]


def close_connections() -> None:
    close_old_connections()
    connections.close_all()
