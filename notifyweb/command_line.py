"""Runs one management command, with the embedded services it needs.

A ``SettingError`` is printed as one line, without a traceback.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from notifyweb.environment import SettingError
from notifyweb.logs import redact_uncaught_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from notifyweb.doctor.findings import Finding
    from notifyweb.embedded.lease import Service

WRONG_SETTING = 2
DOCTOR = "doctor"
# What a shell reports for a program that SIGPIPE ended.
OUTPUT_CLOSED = 141
# Set by the launcher for its children: it starts and stops the services itself.
SUPERVISED = "NOTIFYWEB_SUPERVISED"
# Commands that read and write no database.
COMMANDS_WITHOUT_SERVICES = frozenset(
    {"run", "help", "version", "--help", "-h", "--version", "check", "collectstatic"}
    | {"findstatic", "diffsettings", "startapp", "makemessages", "compilemessages"}
)
# Servers start only on a database of their own version.
SERVERS = frozenset({"daphne", "relay", "gateway"})


def run_command(argv: Sequence[str]) -> int:
    command = argv[1] if len(argv) > 1 else "help"
    redact_uncaught_errors()
    try:
        if list(argv[1:]) == ["run"]:
            # Without Django's apps the launcher starts sooner and stays small.
            from notifyweb.launcher.system import run

            return run()
        if command == DOCTOR:
            from notifyweb.doctor.variables import wrong_variables

            wrong = wrong_variables()
            if wrong:
                return _report(wrong, argv)
        with _services_for(command):
            if command in SERVERS:
                import django

                django.setup()
                from django.db import connection

                from notifyweb.startup import check_startup

                try:
                    check_startup()
                finally:
                    # The relay and the gateway have their own pools; this connection
                    # would idle.
                    connection.close()
            from django.core.management import execute_from_command_line

            execute_from_command_line(list(argv))
    except SettingError as error:
        if command == DOCTOR:
            from notifyweb.doctor.findings import fault

            advice = "correct it, then check again"
            return _report([fault("start", str(error), advice)], argv)
        print(error, file=sys.stderr)
        return WRONG_SETTING
    except BrokenPipeError:
        # The reader closed the pipe (``| head``); Python's flush at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED
    return 0


def _report(findings: Sequence[Finding], argv: Sequence[str]) -> int:
    """The doctor's report where Django cannot start; the same form and exit codes."""
    from notifyweb.doctor.findings import as_json, as_text, exit_code

    print(as_json(findings) if "--json" in argv else as_text(findings))
    return exit_code(findings)


@contextmanager
def _services_for(command: str) -> Iterator[None]:
    if command in COMMANDS_WITHOUT_SERVICES or os.environ.get(SUPERVISED):
        yield
        return
    from django.conf import settings

    from notifyweb.embedded.lease import Lease

    services = embedded_services()
    if not services:
        yield
        return
    lease = Lease(settings.EMBEDDED_PATHS, services)
    lease.enter()
    try:
        yield
    finally:
        lease.leave()


def embedded_services() -> list[Service]:
    """PostgreSQL and Redis, where the settings name no external ones."""
    from django.conf import settings

    services: list[Service] = []
    if settings.EMBEDDED_POSTGRES:
        from notifyweb.embedded.postgres import Postgres

        services.append(Postgres(settings.EMBEDDED_PATHS))
    if settings.EMBEDDED_REDIS:
        from notifyweb.embedded.redis import Redis

        services.append(Redis(settings.EMBEDDED_PATHS))
    return services
