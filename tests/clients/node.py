"""Runs one Node scenario and exchanges JSON objects with it, one a line.

A scenario prints what it has shown to work (``{"did": …, "steps": […]}``) and, where it
needs the test to act (restart the relay), waits for a word on its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SECONDS = 120


@dataclass
class Scenario:
    """A running scenario. Use as a context manager; leaving it ends the process."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    facts: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Scenario:
        script = str(HERE / "scenarios" / f"{self.name}.mjs")
        self._process = subprocess.Popen(
            ["node", script, *self.arguments],  # noqa: S607  # whichever is installed
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._stderr: list[str] = []
        readers = (self._read_facts, self._read_errors)
        self._readers = [threading.Thread(target=reader) for reader in readers]
        for thread in self._readers:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            # The scenario ended before it read this line.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._end(f"could not hear {word!r}") from None

    def wait_for(self, did: str) -> dict[str, Any]:
        """The fact named ``did``; fails with the scenario's output if it is never reported."""
        for fact in self._until_end():
            if fact.get("did") == did:
                return fact
        raise self._end(f"ended before {did!r}")

    def finish(self) -> list[str]:
        """Wait for the end, which has to be a good one; what was shown, in order."""
        for _ in self._until_end():
            pass
        if self._process.wait(10):
            raise self._end("ended badly")
        return [fact["did"] for fact in self.facts]

    def _until_end(self) -> Any:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                raise self._end("hangs") from None
            if line is None:
                return
            fact = json.loads(line)
            self.facts.append(fact)
            if "failed" in fact:
                raise self._end("failed")
            yield fact

    def _read_facts(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # Some packages print on their own; only objects are ours.
            if line.startswith("{"):
                self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._stderr.extend(self._process.stderr)

    def _end(self, what: str) -> AssertionError:
        """A failure with the scenario's whole output so far."""
        if self._process.poll() is not None:
            for reader in self._readers:
                reader.join()
        facts = "\n".join(json.dumps(fact, ensure_ascii=False) for fact in self.facts)
        rest = "".join(line for line in iter_now(self._lines) if line)
        errors = "".join(self._stderr)
        return AssertionError(f"{self.name} {what}\n{facts}\n{rest}\n{errors}")


def iter_now(lines: queue.Queue[str | None]) -> Iterator[str | None]:
    while not lines.empty():
        yield lines.get_nowait()
