"""The size of every table, from PostgreSQL's catalogue, and what retention will free.

No table is read: sizes and numbers of rows are PostgreSQL's own estimates. Rows past
their retention are counted by an index up to ``MAX_COUNTED``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connection

from common.retention import Bounded, Pruned, expired, rule_of
from notifyweb.operations.queues import MAX_COUNTED

if TYPE_CHECKING:
    from datetime import timedelta

SIZES = """
    SELECT c.relname, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid),
           pg_indexes_size(c.oid), coalesce(s.n_dead_tup, 0)
    FROM pg_class c
    LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
    ORDER BY 3 DESC, 1
"""


@dataclass(frozen=True, slots=True)
class TableSize:
    """``rows`` and ``dead_rows`` are estimates; ``expired`` are rows to be deleted,
    None where finding them would read the table."""

    name: str
    label: str
    rows: int
    size: int
    index_size: int
    dead_rows: int
    kept_for: timedelta | None
    bounded_by: str
    is_for_good: bool
    expired: int | None

    @property
    def kept_hours(self) -> int | None:
        return (
            None
            if self.kept_for is None
            else int(self.kept_for.total_seconds() // 3600)
        )

    @property
    def kept_minutes(self) -> int:
        """For what is kept for less than an hour."""
        return 0 if self.kept_for is None else int(self.kept_for.total_seconds() // 60)

    @property
    def freed(self) -> int:
        """About how many bytes the next pruning makes reusable."""
        if not self.expired:
            return 0
        return int(self.size * min(1.0, self.expired / max(self.rows, self.expired)))


def table_sizes() -> list[TableSize]:
    models = {model._meta.db_table: model for model in apps.get_models()}
    with connection.cursor() as cursor:
        cursor.execute(SIZES)
        rows = cursor.fetchall()
    found = []
    for name, count, size, index_size, dead in rows:
        model = models.get(name)
        kept_for, bounded_by, is_for_good, old = None, "", False, None
        rule = rule_of(model) if model else None
        if model and isinstance(rule, Pruned):
            kept_for = rule.age
            is_for_good = kept_for is None
            old = expired(model, rule, limit=MAX_COUNTED)
        elif isinstance(rule, Bounded):
            bounded_by = rule.by
        label = str(model._meta.verbose_name_plural) if model else name
        found.append(
            TableSize(
                name=name,
                label=label,
                rows=count,
                size=size,
                index_size=index_size,
                dead_rows=dead,
                kept_for=kept_for,
                bounded_by=bounded_by,
                is_for_good=is_for_good,
                expired=old,
            )
        )
    return found
