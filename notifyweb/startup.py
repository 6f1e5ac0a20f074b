"""What must be true before a process serves anybody.

A schema older or newer than this code, or a key that does not open the keychain: both
are found here, and nothing has been written yet.
"""

from __future__ import annotations

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from keychain.services import KeyringError, check_canary
from notifyweb.environment import SettingError

_in_order: set[str] = set()


def refuse_to_start_if_unfit() -> None:
    fault = unapplied_migrations() or newer_schema() or closed_keychain()
    if fault:
        raise SettingError(fault)


def unapplied_migrations() -> str:
    """A sentence about migrations still to be applied; empty if there are none."""
    if "migrations" in _in_order:
        return ""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        first = plan[0][0]
        return (
            f"{len(plan)} migrations are not applied, the first of them {first}; "
            "run: python manage.py migrate"
        )
    _in_order.add("migrations")
    return ""


def newer_schema() -> str:
    """A sentence if the database was migrated by a newer version of this code."""
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


def closed_keychain() -> str:
    """A sentence if the keys we were given do not open what the keychain holds."""
    if "keychain" in _in_order:
        return ""
    try:
        check_canary()
    except KeyringError as error:
        return str(error)
    _in_order.add("keychain")
    return ""
