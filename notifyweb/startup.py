"""Checks before a process serves requests.

They find a schema that is older or newer than this code or made by an edited migration, and
a key that does not open the keychain, before anything is written.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

import psycopg
from django.apps import apps as current_apps
from django.conf import settings
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from keychain.services import KeyringError, check_canary
from notifyweb.database import probe_arguments
from notifyweb.environment import SettingError
from notifyweb.schema import schema_differences

if TYPE_CHECKING:
    from django.apps.registry import Apps

OWN_SESSION = "SELECT pg_backend_pid()"
SESSIONS_LOOKED_AT = 4
SESSIONS_TIMEOUT_S = 15.0
POOLS_TRANSACTIONS = (
    "DATABASE_URL leads to a pooler that pools transactions or statements; set "
    "pool_mode = session for it, because locks and leases belong to sessions."
)

_passed: set[str] = set()


def check_startup() -> None:
    fault = (
        shared_sessions()
        or interrupted_restore()
        or unapplied_migrations()
        or newer_schema()
        or wrong_schema()
        or closed_keychain()
    )
    if fault:
        raise SettingError(fault)


def shared_sessions() -> str:
    """Describe a pooler that spreads the statements of one connection over sessions.

    Locks, prepared statements, settings and leases belong to a session. A pooler in
    transaction (or statement) mode may run each statement in another one. It assigns the
    session used last, so that two connections share one, or the one used longest ago,
    so that one connection gets two; both are looked for.
    """
    outcome: Future[bool] = Future()
    # A pooler without enough sessions makes the third connection wait instead of failing.
    threading.Thread(target=_look_for_sharing, args=(outcome,), daemon=True).start()
    try:
        is_shared = outcome.result(SESSIONS_TIMEOUT_S)
    except TimeoutError:
        return (
            f"The database gave no {SESSIONS_LOOKED_AT} sessions at once within "
            f"{SESSIONS_TIMEOUT_S:.0f} s; if DATABASE_URL leads to a pooler, give it a "
            "larger pool (docs/operations.md)."
        )
    except psycopg.OperationalError as error:
        if "startup parameter" not in str(error) and "pooling" not in str(error):
            raise OperationalError("the database does not answer") from None
        reason = str(error).partition("\n")[0]
        return f"The pooler that DATABASE_URL leads to refuses connections: {reason}"
    return POOLS_TRANSACTIONS if is_shared else ""


def _look_for_sharing(outcome: Future[bool]) -> None:
    try:
        with contextlib.ExitStack() as stack:
            arguments = probe_arguments(settings.DATABASES["default"])
            sessions = [
                stack.enter_context(psycopg.connect(**arguments))
                for _ in range(SESSIONS_LOOKED_AT)
            ]
            numbers: list[set[int]] = [set() for _ in sessions]
            for position in (0, *range(SESSIONS_LOOKED_AT), 0):
                for _ in range(2):
                    row = sessions[position].execute(OWN_SESSION).fetchone()
                    numbers[position].add(row[0] if row else 0)
            # In session mode each connection has one backend, shared with no other.
            seen, different = sum(map(len, numbers)), len(set().union(*numbers))
            outcome.set_result(not seen == different == len(sessions))
    except Exception as error:  # raised by the thread that waits
        outcome.set_exception(error)


def interrupted_restore() -> str:
    """Describe a restore that runs or was killed: the tables are not complete."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'before_restore'")
        if cursor.fetchone() is None:
            return ""
    return (
        "A restore is running or was interrupted; wait for it, or put the old data back "
        "with: python manage.py prepare"
    )


def unapplied_migrations() -> str:
    """Describe migrations still to be applied; empty if there are none."""
    if "migrations" in _passed:
        return ""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        first = plan[0][0]
        return (
            f"{len(plan)} migrations are not applied, the first of them {first}; "
            "run: python manage.py migrate"
        )
    _passed.add("migrations")
    return ""


def newer_schema() -> str:
    """Describe migrations applied by a newer version of this code."""
    loader = MigrationExecutor(connection).loader
    applied = MigrationRecorder(connection).applied_migrations()
    unknown = sorted(
        key
        for key in applied
        if key[0] in loader.migrated_apps
        and key not in loader.disk_migrations
        and key not in loader.replacements
    )
    if unknown:
        app, name = unknown[-1]
        return (
            f"The database was migrated by a newer version ({app}.{name} is unknown "
            "here); start that version instead."
        )
    return ""


def unfit_for_migrating() -> str:
    """Describe why this code cannot bring the database up to date."""
    fault = newer_schema()
    if fault:
        return fault
    executor = MigrationExecutor(connection)
    loader = executor.loader
    if not executor.migration_plan(loader.graph.leaf_nodes()):
        return wrong_schema()
    applied = [key for key in loader.applied_migrations if key in loader.graph.nodes]
    return wrong_schema(loader.project_state(applied).apps)


def wrong_schema(apps: Apps = current_apps) -> str:
    """Describe how the tables differ from the models in ``apps``."""
    differences = schema_differences(apps)
    if not differences:
        return ""
    others = len(differences) - 1
    more = f" and {others} more" if others else ""
    return (
        "The database's schema is not the one that this version's migrations make "
        f"({differences[0]}{more}); start the version that made it, restore a backup of "
        "a released version, or start with an empty database or data directory."
    )


def closed_keychain() -> str:
    """Describe why the configured keys do not open the keychain."""
    if "keychain" in _passed:
        return ""
    try:
        check_canary()
    except KeyringError as error:
        return str(error)
    _passed.add("keychain")
    return ""
