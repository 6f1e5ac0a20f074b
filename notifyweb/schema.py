"""Comparison of the live schema with the one that the models describe.

The record of applied migrations holds names only. It stays the same when a migration is
edited after it was applied, so the tables themselves are inspected.

Both sides are sets of lines, one for each column, index, check and foreign key. Names of
indexes and constraints are compared where ``Meta`` gives them. Generated names contain the
table's name and outlive its renaming, so those indexes are compared by their columns.
Conditions and expressions are not compared: PostgreSQL stores them in a rewritten form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.apps import apps as current_apps
from django.conf import settings
from django.db import connection
from django.db.models import CheckConstraint, Index, UniqueConstraint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from typing import Any

    from django.apps.registry import Apps
    from django.db.models import Field, Model

COLUMNS = """
SELECT t.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    a.attidentity <> ''
FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid
WHERE t.relname = ANY(%s) AND t.relkind IN ('r', 'p') AND pg_table_is_visible(t.oid)
    AND a.attnum > 0 AND NOT a.attisdropped
"""
INDEXES = """
SELECT t.relname, i.relname, x.indisprimary, x.indisunique, x.indpred IS NOT NULL, ARRAY(
    SELECT CASE WHEN x.indoption[n] & 1 = 1 THEN '-' ELSE '' END
        || coalesce(a.attname, '?') || CASE WHEN o.opcdefault THEN '' ELSE ' pattern' END
    FROM generate_series(0, x.indnkeyatts - 1) AS n
    JOIN pg_opclass o ON o.oid = x.indclass[n]
    LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.indkey[n]
    ORDER BY n)
FROM pg_class t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
WHERE t.relname = ANY(%s) AND pg_table_is_visible(t.oid) AND x.indisvalid
"""
CONSTRAINTS = """
SELECT t.relname, c.conname, f.relname,
    ARRAY(SELECT attname::text FROM pg_attribute
        WHERE attrelid = c.conrelid AND attnum = ANY(c.conkey) ORDER BY attname)
FROM pg_class t JOIN pg_constraint c ON c.conrelid = t.oid
LEFT JOIN pg_class f ON f.oid = c.confrelid
WHERE t.relname = ANY(%s) AND pg_table_is_visible(t.oid) AND c.contype IN ('c', 'f')
"""
# Types as Django names them and as PostgreSQL reports them.
REPORTED_TYPES = {"varchar": "character varying", "time": "time without time zone"}
# An extra index changes no result.
HARMLESS = "index "


@dataclass(slots=True)
class ExpectedSchema:
    """``names`` are those given in ``Meta``, ``with_expressions`` those of them whose
    columns cannot be compared."""

    lines: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    with_expressions: set[str] = field(default_factory=set)


def schema_differences(apps: Apps = current_apps) -> list[str]:
    """Differences between the database and the models of our apps."""
    expected = expected_schema(_our_models(apps))
    live = live_schema(expected)
    missing = sorted(f"no {line}" for line in expected.lines - live)
    extra = (line for line in live - expected.lines if not line.startswith(HARMLESS))
    return missing + sorted(f"an unknown {line}" for line in extra)


def _our_models(apps: Apps) -> Iterable[type[Model]]:
    packages = {name.partition(".")[0] for name in settings.OUR_APPS}
    labels = {
        config.label
        for config in current_apps.get_app_configs()
        if config.name.partition(".")[0] in packages
    }
    for model in apps.get_models(include_auto_created=True):
        options = model._meta
        if options.app_label in labels and options.managed and not options.proxy:
            yield model


def expected_schema(models: Iterable[type[Model]]) -> ExpectedSchema:
    expected = ExpectedSchema()
    for model in models:
        table = model._meta.db_table
        expected.tables.add(table)
        for each in model._meta.local_concrete_fields:
            expected.lines.update(_lines_of_field(table, each))
        keys = ", ".join(str(each.column) for each in model._meta.pk_fields)
        expected.lines.add(f"primary key {table} ({keys})")
        for columns in model._meta.unique_together:
            names = [_column(model, name) for name in columns]
            expected.lines.add(_index_line(table, names, is_unique=True))
        for index in model._meta.indexes:
            _add_index(expected, model, index, index.fields_orders, is_unique=False)
        for constraint in model._meta.constraints:
            if isinstance(constraint, UniqueConstraint):
                orders = [(name, "") for name in constraint.fields]
                _add_index(expected, model, constraint, orders, is_unique=True)
            elif isinstance(constraint, CheckConstraint):
                expected.names.add(constraint.name)
                expected.lines.add(f"check {constraint.name} of {table}")
    return expected


def _lines_of_field(table: str, each: Field[Any, Any]) -> Iterable[str]:
    parameters = each.db_parameters(connection)
    kind = str(parameters["type"])
    # ``varchar(64)``: the name, and what follows it.
    name = kind.partition("(")[0]
    modifier = kind.removeprefix(name)
    yield _column_line(
        table,
        str(each.column),
        REPORTED_TYPES.get(name, name) + modifier,
        # Django makes generated columns without NOT NULL.
        is_required=not each.null and not each.generated,
        is_identity=bool(each.db_type_suffix(connection)),
    )
    column = str(each.column)
    is_indexed = bool(getattr(each, "db_index", False))
    if each.unique and not each.primary_key:
        yield _index_line(table, [column], is_unique=True)
    elif is_indexed and not each.unique:
        yield _index_line(table, [column])
    # Django adds a second index for LIKE, with an operator class of its own.
    if (each.unique or is_indexed) and kind.startswith(("varchar", "text")):
        yield _index_line(table, [f"{column} pattern"])
    if parameters["check"]:
        yield f"check of {table}.{column}"
    if each.remote_field and getattr(each, "db_constraint", False):
        target = each.remote_field.model._meta.db_table
        yield f"foreign key {table}.{column} to {target}"


def _add_index(
    expected: ExpectedSchema,
    model: type[Model],
    index: Index | UniqueConstraint,
    orders: Sequence[tuple[str, str]],
    *,
    is_unique: bool,
) -> None:
    expected.names.add(index.name)
    if index.expressions:
        expected.with_expressions.add(index.name)
    opclasses = getattr(index, "opclasses", ()) or [""] * len(orders)
    columns = [
        f"{'-' if order else ''}{_column(model, name)}{' pattern' if opclass else ''}"
        for (name, order), opclass in zip(orders, opclasses, strict=False)
    ]
    expected.lines.add(
        _index_line(
            model._meta.db_table,
            columns,
            name=index.name,
            is_unique=is_unique,
            is_partial=index.condition is not None,
        )
    )


def _column(model: type[Model], name: str) -> str:
    return str(getattr(model._meta.get_field(name), "column", name))


def live_schema(expected: ExpectedSchema) -> set[str]:
    """The lines of the expected tables as they are in the database."""
    lines = set()
    tables = sorted(expected.tables)
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS, [tables])
        for table, column, kind, is_required, is_identity in cursor.fetchall():
            lines.add(
                _column_line(
                    table,
                    column,
                    kind,
                    is_required=is_required,
                    is_identity=is_identity,
                )
            )
        cursor.execute(INDEXES, [tables])
        for (
            table,
            name,
            is_primary,
            is_unique,
            is_partial,
            columns,
        ) in cursor.fetchall():
            if is_primary:
                lines.add(f"primary key {table} ({', '.join(columns)})")
                continue
            lines.add(
                _index_line(
                    table,
                    [] if name in expected.with_expressions else columns,
                    name=name if name in expected.names else "",
                    is_unique=is_unique,
                    is_partial=is_partial,
                )
            )
        cursor.execute(CONSTRAINTS, [tables])
        for table, name, target, columns in cursor.fetchall():
            if target:
                lines.add(f"foreign key {table}.{','.join(columns)} to {target}")
            elif name in expected.names:
                lines.add(f"check {name} of {table}")
            else:
                lines.add(f"check of {table}.{','.join(columns)}")
    return lines


def _column_line(
    table: str, column: str, kind: str, *, is_required: bool, is_identity: bool
) -> str:
    required = " not null" if is_required else ""
    identity = " identity" if is_identity else ""
    return f"column {table}.{column} {kind}{required}{identity}"


def _index_line(
    table: str,
    columns: Collection[str],
    *,
    name: str = "",
    is_unique: bool = False,
    is_partial: bool = False,
) -> str:
    kind = "unique index" if is_unique else "index"
    named = f" {name}" if name else ""
    condition = " with a condition" if is_partial else ""
    return f"{kind}{named} of {table} ({', '.join(columns)}){condition}"
