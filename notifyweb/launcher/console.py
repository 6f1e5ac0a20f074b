"""The launcher's output: phases with durations, and lines prefixed by their process."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from notifyweb.logs import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN_NAME = "notifyweb"
WIDTH = 9
COLOURS = {
    OWN_NAME: "1",
    "postgres": "34",
    "redis": "31",
    "preloader": "90",
    "prepare": "36",
    "web": "32",
    "relay": "35",
    "gateway": "33",
    "worker": "36",
    "outbound": "36",
    "beat": "90",
}


class Console:
    def __init__(self) -> None:
        self._coloured = sys.stdout.isatty()
        self._started = time.monotonic()

    def line(self, name: str, text: str) -> None:
        label = f"{name:<{WIDTH}}"
        if self._coloured:
            label = f"\033[{COLOURS.get(name, '0')}m{label}\033[0m"
        try:
            # Children may write to stdout past their own redaction.
            print(f"{label} | {redact(text)}", flush=True)
        except (BrokenPipeError, ValueError):
            # The reader is gone (``| head``); the system continues.
            pass

    def announce(self, text: str) -> None:
        self.line(OWN_NAME, text)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.announce(f"{name} ({time.monotonic() - started:.1f} s)")

    def since_start(self) -> float:
        return time.monotonic() - self._started
