"""Checks of the launcher: readiness of the web process, changes of files."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifyweb.environment import local_host

if TYPE_CHECKING:
    from pathlib import Path

    from django.conf import LazySettings

TIMEOUT_S = 5.0
# Longer than both timeouts of ``/livez`` together: 2 s for PostgreSQL, 3 s for the pool.
LIVE_TIMEOUT_S = 10.0
OK_LINE = b"200"
# A fault of the web process.
NO_ANSWER = "does not answer"


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    missing: str


async def readiness(host: str, port: int) -> Readiness:
    """Request ``/readyz`` of the web process on this machine."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status, body = await _get(local_host(host), port, "/readyz")
    except (OSError, TimeoutError, ValueError):
        return Readiness(ready=False, missing="web")
    try:
        components = json.loads(body)["components"]
        waiting = [name for name, state in components.items() if not state["ok"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        waiting = []
    return Readiness(ready=status == OK_LINE, missing=", ".join(waiting) or "web")


async def web_fault(host: str, port: int) -> str:
    """Why the web process needs a restart; empty if a restart would not help."""
    try:
        async with asyncio.timeout(LIVE_TIMEOUT_S):
            status, _ = await _get(local_host(host), port, "/livez")
    except (OSError, TimeoutError, ValueError):
        return NO_ANSWER
    return "" if status == OK_LINE else "gets no database connection"


async def _get(host: str, port: int, path: str) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        await writer.drain()
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status_line = head.split(maxsplit=2)
    if len(status_line) < 2:
        raise ValueError("not an HTTP response")
    return status_line[1], body


def state_of_files(settings: LazySettings) -> str:
    """A digest that changes with any migration, static file or seed of ours."""
    digest = hashlib.sha256()
    base: Path = settings.BASE_DIR
    watched = [base / "static", base / "requirements.txt"]
    watched += [base / app / "migrations" for app in settings.OUR_APPS]
    watched += [base / app / "static" for app in settings.OUR_APPS]
    for path in watched:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and file.suffix != ".pyc":
                at = file.stat()
                digest.update(f"{file}:{at.st_mtime_ns}:{at.st_size}\n".encode())
    key_ids = [key.partition(":")[0] for key in settings.KEYCHAIN_KEYS]
    digest.update(f"{settings.DEMO}:{settings.PUBLIC_URL}:{key_ids}".encode())
    digest.update(str((settings.STATIC_ROOT / "staticfiles.json").exists()).encode())
    return digest.hexdigest()
