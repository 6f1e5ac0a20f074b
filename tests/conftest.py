"""What every test run stands on: real PostgreSQL and Redis, started once."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from django.test import TransactionTestCase
from hypothesis import settings as hypothesis_settings
from psycopg import sql

from tests.empty_tables import empty_tables
from tests.prepared import digest_of_code
from tests.system import System

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notifyweb.embedded.paths import Paths


# A busy machine is no fault of an example, and CI draws the same examples every time.
hypothesis_settings.register_profile("here", deadline=None)
hypothesis_settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis_settings.load_profile("ci" if os.environ.get("CI") else "here")


# pytest-django's tests that commit are cases of this class.
TransactionTestCase._fixture_teardown = lambda _: empty_tables()


# They take minutes, so a run must not end with one of them.
LONGEST = (
    "browser/test_every_page_is_usable.py",
    "clients/test_sign_clients.py",
    "notifyweb/test_launcher.py",
    "browser/test_live_socket.py",
    "browser/test_inbox.py",
    "notifyweb/test_abandoned.py",
    "notifyweb/test_start_matrix.py",
    "faults/test_faults.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then others that wait for processes, then the rest."""
    waiting = {item.path for item in items if item.get_closest_marker("system")}

    def place(item: pytest.Item) -> int:
        name = "/".join(item.path.parts[-2:])
        if name in LONGEST:
            return LONGEST.index(name)
        return len(LONGEST) + (item.path not in waiting)

    items.sort(key=place)


def pytest_terminal_summary(terminalreporter):
    """Print what tests recorded as ``summary``, such as the seed of a random choice."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "summary":
                    terminalreporter.section(report.nodeid)
                    terminalreporter.write_line(value)


@pytest.fixture(scope="session")
def embedded_services() -> Iterator[None]:
    from django.conf import settings

    from notifyweb.embedded.lease import Lease
    from notifyweb.embedded.postgres import Postgres
    from notifyweb.embedded.redis import Redis

    postgres = Lease(
        settings.EMBEDDED_PATHS, [Postgres(settings.EMBEDDED_PATHS, durable=False)]
    )
    redis = Lease(settings.REDIS_PATHS, [Redis(settings.REDIS_PATHS)])
    postgres.enter()
    _forget_dead_runs(settings.EMBEDDED_PATHS, settings.REDIS_PATHS)
    redis.enter()
    try:
        yield
    finally:
        redis.leave()
        postgres.leave()
        shutil.rmtree(settings.REDIS_PATHS.data, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(embedded_services: None) -> Iterator[ExitStack]:
    """pytest-django asks for this before it makes the database of the run.

    The first run of some code migrates, and leaves a copy of its database as the template
    of later ones. Others wait for it.
    """
    from django.conf import settings
    from django.db import connection

    with ExitStack() as until_made:
        line = until_made.enter_context(_connect(settings.EMBEDDED_PATHS))
        line.execute("SELECT pg_advisory_lock(2)")
        found = line.execute(
            "SELECT FROM pg_database WHERE datname = %s", [_template()]
        ).fetchone()
        if found is not None:
            connection.settings_dict["TEST"]["TEMPLATE"] = _template()
        yield until_made


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_modify_db_settings: ExitStack, django_db_setup: None
) -> None:
    from django.conf import settings
    from django.db import connection

    if not connection.settings_dict["TEST"].get("TEMPLATE"):
        # A database in use is no template.
        connection.close()
        with _connect(settings.EMBEDDED_PATHS) as line:
            for (name,) in line.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, 'template_')"
            ).fetchall():
                line.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
            line.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(_template()),
                    sql.Identifier(connection.settings_dict["NAME"]),
                )
            )
    django_db_modify_db_settings.close()


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """The whole system on free ports; see ``tests/system.py``. Started when first
    asked for, shared by all tests that ask: leave it ready."""
    running = System()
    try:
        yield running.start()
    finally:
        running.remove()


@pytest.fixture
def redis_client(embedded_services: None) -> Iterator[object]:
    """A client of this run's Redis, emptied first."""
    import redis
    from django.conf import settings

    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.flushall()
        yield client


def _forget_dead_runs(places: Paths, ours: Paths) -> None:
    """Drop what runs left behind that were killed."""
    with _connect(places) as connection:
        # Two workers that start together would drop the same.
        connection.execute("SELECT pg_advisory_lock(1)")
        rows = connection.execute("SELECT datname FROM pg_database")
        for (name,) in rows.fetchall():
            if name.startswith("test_") and not _is_alive(name.split("_")[1]):
                connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
                        sql.Identifier(name)
                    )
                )
    for folder in ours.data.parent.glob("run-*"):
        if not _is_alive(folder.name.removeprefix("run-")):
            shutil.rmtree(folder, ignore_errors=True)


def _template() -> str:
    return f"template_{digest_of_code()}"


def _connect(places: Paths) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=str(places.postgres_run),
        port=5432,
        user="notifyweb",
        dbname="notifyweb",
        autocommit=True,
    )


def _is_alive(pid: str) -> bool:
    return not pid.isdecimal() or Path(f"/proc/{pid}").exists() or os.name != "posix"
