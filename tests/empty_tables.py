"""The database as it was before a test that committed.

Django empties every table and makes content types, permissions and what ``migrate`` leaves
anew: a second for each test. Here only tables with rows are emptied, and what no test
changes stays.
"""

from __future__ import annotations

import functools

from django.db import connection, transaction

KEPT = {"django_content_type", "auth_permission", "django_migrations"}
# Its rows refuse to be deleted one by one.
APPEND_ONLY = "accounts_auditentry"


def empty_tables() -> None:
    from keychain.services import ensure_canary

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_which_have_rows())
        found = [name for (name,) in cursor.fetchall()]
        for name in found:
            if name == APPEND_ONLY:
                cursor.execute(f"TRUNCATE {name}")
            else:
                # Foreign keys are deferred to the end of the transaction.
                cursor.execute(f"DELETE FROM {name}")  # noqa: S608 - Django's own names
    # As after a migration.
    ensure_canary()


@functools.cache
def _which_have_rows() -> str:
    names = set(connection.introspection.django_table_names(only_existing=True)) - KEPT
    return " UNION ALL ".join(
        f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})"  # noqa: S608
        for name in sorted(names)
    )
