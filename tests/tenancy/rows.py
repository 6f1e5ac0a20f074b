"""All rows of the database, and which of them a request touched."""

from __future__ import annotations

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models import ForeignKey

# Shared by all users on purpose: public documents of dapps, cached per address.
SHARED = {
    "subscriptions.DappDocument",
    "subscriptions.WatchedServer",
    "identity.KnownIdentity",
}
MODELS = [
    model
    for config in apps.get_app_configs()
    if config.name in settings.OUR_APPS
    for model in config.get_models()
    if model._meta.label not in SHARED
]
ONE_TABLE = """SELECT '{table}', {key}, row::text FROM "{table}" AS row"""

Rows = dict[tuple[str, str], str]


def _key_of(model) -> str:
    columns = [field.column for field in model._meta.pk_fields]
    return " || '/' || ".join(f'"{column}"::text' for column in columns)


QUERY = " UNION ALL ".join(
    ONE_TABLE.format(table=model._meta.db_table, key=_key_of(model)) for model in MODELS
)


def all_rows() -> Rows:
    with connection.cursor() as cursor:
        cursor.execute(QUERY)
        return {(table, key): text for table, key, text in cursor.fetchall()}


def touched(owned: Rows, before: Rows, after: Rows) -> list[str]:
    """Rows of ``owned`` that were changed or deleted, and new rows that refer to one."""
    found = [
        f"{table} {key}" + (" changed" if (table, key) in after else " deleted")
        for table, key in owned
        if before[table, key] != after.get((table, key))
    ]
    for model in MODELS:
        table = model._meta.db_table
        new = [
            key for name, key in after if name == table and (name, key) not in before
        ]
        for field in model._meta.concrete_fields:
            if not new or not isinstance(field, ForeignKey):
                continue
            target = field.related_model._meta.db_table
            column = f"{field.name}_id"
            for key, value in model.objects.filter(pk__in=new).values_list(
                "pk", column
            ):
                if (target, str(value)) in owned:
                    found.append(f"{table} {key} refers to {target} {value}")
    return found
