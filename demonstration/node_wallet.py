"""A wallet built from the published npm packages, in a Node.js process.

It is a scenario of the client tests (``tests/clients/scenarios/demo-wallet.mjs``). It reads
commands from standard input and writes one JSON object per line to standard output.
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
MAX_ERROR_OUTPUT: Final = 2000


class NodeWalletError(Exception):
    """The wallet cannot be started or has ended; the message contains the remedy."""


def require_node(clients: Path = CLIENTS) -> str:
    """The path of a Node.js executable that can run the wallet."""
    node = shutil.which("node")
    version = 0
    if node is not None:
        output = subprocess.run(  # noqa: S603
            [node, "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        ).stdout
        major = output.strip().removeprefix("v").partition(".")[0]
        version = int(major) if major.isdecimal() else 0
    if node is None or version < MIN_NODE_VERSION:
        raise NodeWalletError(
            f"the other wallet needs Node.js {MIN_NODE_VERSION} or newer; install it, "
            "or run the demo without --with-node"
        )
    if not (clients / SCRIPT).exists():
        raise NodeWalletError(f"the other wallet is not part of this copy: no {SCRIPT}")
    if not (clients / "node_modules").is_dir():
        raise NodeWalletError(
            "the npm packages of the other wallet are missing; install them with: "
            f"npm ci --omit=optional --prefix {clients}"
        )
    return node


class NodeWallet:
    """The running process. A context manager; leaving it kills the process."""

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

    def send(self, command: str) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{command}\n")
                self._process.stdin.flush()

    def events(self) -> Iterator[dict[str, Any]]:
        """The events since the last call; raises if the wallet failed or has ended."""
        ended = self._process.poll() is not None
        if ended:
            for reader in self._readers:
                reader.join()
        while not self._lines.empty():
            event = json.loads(self._lines.get_nowait())
            if "failed" in event:
                raise NodeWalletError(f"the other wallet failed: {event['failed']}")
            yield event
        if ended:
            output = "".join(self._errors)[-MAX_ERROR_OUTPUT:]
            raise NodeWalletError(f"the other wallet ended early: {output}")

    def _read_lines(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                # The packages print log lines as well.
                if line.startswith('{"'):
                    self._lines.put(line)

    def _read_errors(self) -> None:
        if self._process.stderr is not None:
            self._errors.extend(self._process.stderr)
