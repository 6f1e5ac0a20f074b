"""Notifications that go on while the system is broken."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from tests.faults.waiting import close_connections, insist

if TYPE_CHECKING:
    from tests.faults.world import Dapp, World

PAUSE_S = 0.2
# A call goes on as long as the longest outage, and a minute.
PATIENCE_S = 180.0


class Load:
    """A dapp's backend that notifies Alice five times a second and repeats until answered."""

    def __init__(self, world: World, dapp: Dapp, *, pause_s: float = PAUSE_S) -> None:
        self._world = world
        self._dapp = dapp
        self._pause_s = pause_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.count = 0
        self.slowest_s = 0.0
        self.failure = ""

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            self.failure = "a call is still not answered"

    def _run(self) -> None:
        try:
            while not self._over.wait(self._pause_s):
                self._notify()
        except AssertionError as error:
            self.failure = str(error)
        finally:
            close_connections()

    def _notify(self) -> None:
        dapp = self._dapp
        title = f"Load {len(dapp.titles)}"
        dapp.titles.append(title)
        began = time.monotonic()
        key = f"{dapp.pk}-{len(dapp.titles)}"
        try:
            insist(
                lambda: dapp.notify([self._world.account], title, key=key),
                timeout=PATIENCE_S,
            )
        except AssertionError:
            # Never accepted, so nothing may be expected of it.
            dapp.titles.remove(title)
            raise
        self.count += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
