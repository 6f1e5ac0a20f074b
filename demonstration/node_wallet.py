"""A real wallet beside ours: the published npm packages in a Node.js process.

``manage.py demo --with-node`` lets it play W1. The wallet is a scenario of the client tests
(``tests/clients/scenarios/demo-wallet.mjs``); it says what it does, a JSON object a line,
and hears words on its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CLIENTS: Final = Path(settings.BASE_DIR) / "tests" / "clients"
SCRIPT: Final = Path("scenarios") / "demo-wallet.mjs"
MIN_NODE_VERSION: Final = 20
LAST_OUTPUT_LINES: Final = 2000


class NoNodeWallet(Exception):
    """It cannot be started, or has ended; the text says why and what to do."""


def require_node(clients: Path = CLIENTS) -> str:
    """The path of a Node.js that can run the wallet."""
    node = shutil.which("node")
    if node is None or _version(node) < MIN_NODE_VERSION:
        raise NoNodeWallet(
            f"the other wallet needs Node.js {MIN_NODE_VERSION} or newer; install it, "
            "or run the demo without --with-node"
        )
    if not (clients / SCRIPT).exists():
        raise NoNodeWallet(f"the other wallet is not part of this copy: no {SCRIPT}")
    if not (clients / "node_modules").is_dir():
        raise NoNodeWallet(
            "the npm packages of the other wallet are missing; install them with: "
            f"npm ci --omit=optional --prefix {clients}"
        )
    return node


def _version(node: str) -> int:
    told = subprocess.run(  # noqa: S603
        [node, "--version"], capture_output=True, text=True, check=False, timeout=30
    )
    major = told.stdout.strip().removeprefix("v").partition(".")[0]
    return int(major) if major.isdecimal() else 0


class NodeWallet:
    """The running process. Use as a context manager; leaving it ends the process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._node = require_node()
        self._environment = {**os.environ, **environment}
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []

    def __enter__(self) -> NodeWallet:
        self._process = subprocess.Popen(  # noqa: S603
            [self._node, str(CLIENTS / SCRIPT)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def tell(self, word: str) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{word}\n")
                self._process.stdin.flush()

    def facts(self) -> Iterator[dict[str, Any]]:
        """What it has said since the last call; raises if it failed or has ended."""
        ended = self._process.poll() is not None
        if ended:
            for reader in self._readers:
                reader.join()
        while not self._lines.empty():
            fact = json.loads(self._lines.get_nowait())
            if "failed" in fact:
                raise NoNodeWallet(f"the other wallet failed: {fact['failed']}")
            yield fact
        if ended:
            words = "".join(self._errors)[-LAST_OUTPUT_LINES:]
            raise NoNodeWallet(f"the other wallet ended early: {words}")

    def _read_lines(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                # The packages print on their own; only objects are ours.
                if line.startswith('{"'):
                    self._lines.put(line)

    def _read_errors(self) -> None:
        if self._process.stderr is not None:
            self._errors.extend(self._process.stderr)
