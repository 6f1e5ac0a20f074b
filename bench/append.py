"""Ways to write a batch of published messages to the relay's log, side by side.

Each way writes and commits the same batches. Ratios are to the first way, the relay's
own. asyncpg is measured if it is installed.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
import uvloop

from bench.environment import services
from bench.report import micro

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from bench.report import Report
    from relayserver.values import Draft

    Way = Callable[[Sequence[Draft]], Awaitable[Any]]

TICKS: Final = {1: 600, 16: 300, 256: 60, 2_000: 12}
ROUNDS: Final = 5
TTL_MS: Final = 3_600_000
COLUMNS: Final = (
    "topic, message_id, message, tag, attestation, publisher, published_at, expires_at"
)


def run(report: Report, seconds: float) -> None:
    with services():
        import django

        django.setup()
        uvloop.run(_run(report))


async def _run(report: Report) -> None:
    from django.conf import settings

    ways = await _ways(settings.DATABASES["default"])
    numbers = itertools.count()
    for size, ticks in TICKS.items():
        used: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                batches = [_drafts(numbers, size) for _ in range(ticks)]
                cpu, start = time.process_time(), time.perf_counter()
                for batch in batches:
                    await way(batch)
                count = size * ticks
                used[name].append(
                    (
                        (time.process_time() - cpu) / count,
                        (time.perf_counter() - start) / count,
                    )
                )
        first = None
        for name, figures in used.items():
            cpu = min(figure[0] for figure in figures)
            elapsed = min(figure[1] for figure in figures)
            first = first or (cpu, elapsed)
            report.add(
                f"{size} messages, {name}",
                f"{micro(cpu)} CPU, {micro(elapsed)} elapsed",
                ratio=f"{cpu / first[0]:.2f}, {elapsed / first[1]:.2f}",
            )


def _drafts(numbers: itertools.count[int], size: int) -> list[Draft]:
    from relayserver.values import Draft

    now = time.time_ns() // 1_000_000
    text = secrets.token_hex(240)
    drafts = []
    for _ in range(size):
        number = f"{next(numbers):064x}"
        drafts.append(
            Draft(
                topic=number,
                message_id=number,
                message=text + number[-20:],
                tag=4002,
                attestation=None,
                publisher="did:key:z6Mk" + number[-44:],
                published_at=now,
                expires_at=now + TTL_MS,
            )
        )
    return drafts


async def _ways(database: Mapping[str, Any]) -> dict[str, Way]:
    from relayserver.storage import sql
    from relayserver.storage.store import (
        Store,
        connection_arguments,
    )
    from relayserver.storage.store import (
        append_arguments as sql_arguments,
    )

    arguments = connection_arguments(database)
    store = Store(database)
    await store.open()

    copying = await psycopg.AsyncConnection.connect(**arguments)
    await copying.execute(
        "CREATE TEMP TABLE tick (topic text, message_id text, message text, tag bigint,"
        " attestation text, publisher text, published_at bigint, expires_at bigint)"
    )
    head = "UPDATE relay_relaylog SET head = head + %s WHERE id = 1 RETURNING head - %s"
    insert = (
        f"INSERT INTO relay_publishedmessage (id, {COLUMNS})"  # noqa: S608 - a constant
        f" SELECT %s + row_number() OVER (), {COLUMNS} FROM tick"
        " ON CONFLICT DO NOTHING RETURNING id"
    )

    async def psycopg_copy(drafts: Sequence[Draft]) -> Any:
        async with copying.transaction(), copying.cursor() as cursor:
            async with cursor.copy(f"COPY tick ({COLUMNS}) FROM STDIN") as copy:
                for draft in drafts:
                    await copy.write_row(draft)
            await cursor.execute(head, (len(drafts), len(drafts)))
            row = await cursor.fetchone()
            await cursor.execute(insert, (row[0] if row else 0,), prepare=True)
            ids = await cursor.fetchall()
            await cursor.execute("TRUNCATE tick")
            return ids

    many = await psycopg.AsyncConnection.connect(**arguments)
    one = (
        f"INSERT INTO relay_publishedmessage (id, {COLUMNS})"  # noqa: S608 - a constant
        " VALUES (%b, %b, %b, %b, %b, %b, %b, %b, %b) ON CONFLICT DO NOTHING"
    )

    async def psycopg_executemany(drafts: Sequence[Draft]) -> Any:
        async with many.transaction(), many.cursor() as cursor:
            await cursor.execute(head, (len(drafts), len(drafts)))
            row = await cursor.fetchone()
            base = row[0] if row else 0
            await cursor.executemany(
                one, [(base + n, *draft) for n, draft in enumerate(drafts, 1)]
            )

    ways: dict[str, Way] = {
        "psycopg, arrays": store.append,
        "psycopg, COPY": psycopg_copy,
        "psycopg, executemany": psycopg_executemany,
    }
    try:
        import asyncpg
    except ImportError:
        return ways
    other = await asyncpg.connect(
        host=database["HOST"],
        port=int(database["PORT"]),
        user=database["USER"],
        password=database["PASSWORD"],
        database=database["NAME"],
    )
    names = re.findall(r"%\((\w+)\)b", sql.APPEND)
    order = list(dict.fromkeys(names))
    statement = re.sub(
        r"%\((\w+)\)b", lambda found: f"${order.index(found[1]) + 1}", sql.APPEND
    )
    prepared = await other.prepare(statement)

    async def asyncpg_arrays(drafts: Sequence[Draft]) -> Any:
        return await prepared.fetchrow(*map(sql_arguments(drafts).__getitem__, order))

    ways["asyncpg, arrays"] = asyncpg_arrays
    return ways
