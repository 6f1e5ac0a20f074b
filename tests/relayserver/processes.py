"""The relay as a system runs it: a process of its own, which can be killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BASE = Path(__file__).resolve().parents[2]
START_S = 60
LISTENING = re.compile(rb"listening on port (\d+)")


class RelayProcess:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.url = f"ws://127.0.0.1:{port}"

    @classmethod
    async def start(cls, **environment: str) -> RelayProcess:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(BASE / "manage.py"),
            "relay",
            "--port",
            "0",
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **_surroundings(), **environment},
        )
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            async for line in process.stdout:
                if found := LISTENING.search(line):
                    return cls(process, int(found[1]))
        raise AssertionError("the relay did not start")

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    async def exit_code(self) -> int:
        async with asyncio.timeout(60):
            return await self._process.wait()

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None


def _surroundings() -> dict[str, str]:
    """The database and the Redis of this test run, as outside services."""
    database = settings.DATABASES["default"]
    return {
        "DJANGO_SETTINGS_MODULE": "notifyweb.settings",
        "DATABASE_URL": (
            f"postgresql://{database['USER']}@/{database['NAME']}"
            f"?host={quote(database['HOST'])}&port={database['PORT']}"
        ),
        "REDIS_URL": settings.REDIS_URL,
        "SECRET_KEY": settings.SECRET_KEY,
        "KEYCHAIN_KEYS": ",".join(settings.KEYCHAIN_KEYS),
        "NOTIFYWEB_DEMO": "1",
        "PYTHONUNBUFFERED": "1",
    }


@asynccontextmanager
async def relay_process(**environment: str) -> AsyncIterator[RelayProcess]:
    process = await RelayProcess.start(**environment)
    try:
        yield process
    finally:
        if process.is_running:
            await process.kill()
