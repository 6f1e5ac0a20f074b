"""What a database holds, so that a test can assert that nothing changed."""

from __future__ import annotations

from django.apps import apps
from django.db import connection

# Refusals are noted here; that is the point of them.
NOTED = ("accounts_auditentry",)


def rows_of(*app_labels: str, without: tuple[str, ...] = NOTED) -> dict[str, list]:
    """Every row of every table of the apps."""
    found = {}
    with connection.cursor() as cursor:
        for label in app_labels:
            for model in apps.get_app_config(label).get_models():
                table = model._meta.db_table
                if table not in without:
                    cursor.execute(f'SELECT * FROM "{table}" ORDER BY 1')  # noqa: S608
                    found[table] = [
                        tuple(_plain(value) for value in row) for row in cursor
                    ]
    return found


def _plain(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value
