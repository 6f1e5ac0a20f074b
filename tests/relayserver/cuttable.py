"""A link that can be cut and mended: a proxy in front of a real server's Unix socket."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class CuttableLink:
    """While it is cut, connections fail; while it is frozen, no data passes."""

    def __init__(self, target: Path, path: Path) -> None:
        self._target = target
        self.path = path
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def mend(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        self._flowing.set()

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._target)
            ends.append(far_writer)
            await asyncio.gather(
                self._pass_on(reader, far_writer), self._pass_on(far_reader, writer)
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for end in ends:
                end.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while part := await reader.read(65536):
            await self._flowing.wait()
            writer.write(part)
            await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.write_eof()


@asynccontextmanager
async def cuttable(target: Path) -> AsyncIterator[CuttableLink]:
    """A link to ``target`` in a folder of its own, under the same file name."""
    with tempfile.TemporaryDirectory(prefix="link-") as folder:
        link = CuttableLink(target, Path(folder) / target.name)
        await link.mend()
        try:
            yield link
        finally:
            link.thaw()
            await link.cut()
