"""The size of every table, from PostgreSQL's catalogue, and what retention will free.

No table is read: sizes and numbers of rows are PostgreSQL's own estimates. Rows past
their retention are counted by an index up to ``MAX_COUNTED``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connection
from django.db.models import Q

from accounts.models import AccountEvent
from accounts.services import KEEP_EVENTS
from alerts.models import PushDelivery
from alerts.services.webpush import KEPT_FOR as KEEP_PUSHES
from castserver.models import Answer, WebhookDelivery
from castserver.services.upkeep import KEEP_ANSWERS, KEEP_WEBHOOK_LOG
from common import clock
from messaging.models import InboxMessage, OutboxMessage
from messaging.services import KEEP_FOR as KEEP_MESSAGES
from notifyweb.operations.queues import MAX_COUNTED
from syncstore.models import StoreUpdate
from syncstore.services.upkeep import KEEP_FOR as KEEP_UPDATES

if TYPE_CHECKING:
    from datetime import timedelta

    from django.db.models import Model

# Tables that grow with time: the column of a row's age, and how long rows are kept.
RETENTION: dict[type[Model], tuple[str, timedelta]] = {
    AccountEvent: ("created_at", KEEP_EVENTS),
    Answer: ("created_at", KEEP_ANSWERS),
    InboxMessage: ("received_at", KEEP_MESSAGES),
    OutboxMessage: ("created_at", KEEP_MESSAGES),
    PushDelivery: ("created_at", KEEP_PUSHES),
    StoreUpdate: ("at", KEEP_UPDATES),
    WebhookDelivery: ("created_at", KEEP_WEBHOOK_LOG),
}

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
    expired: int | None

    @property
    def freed(self) -> int:
        """About how many bytes the next pruning makes reusable."""
        if not self.expired:
            return 0
        return int(self.size * min(1.0, self.expired / max(self.rows, self.expired)))


def has_index_on(model: type[Model], column: str) -> bool:
    """Whether rows can be found by ``column`` without reading the table."""
    field = model._meta.get_field(column)
    return bool(getattr(field, "db_index", False)) or any(
        index.fields[:1] == [column] and index.condition is None
        for index in model._meta.indexes
    )


def table_sizes() -> list[TableSize]:
    models = {model._meta.db_table: model for model in apps.get_models()}
    with connection.cursor() as cursor:
        cursor.execute(SIZES)
        rows = cursor.fetchall()
    found = []
    for name, count, size, index_size, dead in rows:
        model = models.get(name)
        kept_for, expired = None, None
        if model in RETENTION:
            column, kept_for = RETENTION[model]
            if has_index_on(model, column):
                condition = Q(**{f"{column}__lte": clock.now() - kept_for})
                old = model._default_manager.filter(condition).order_by()
                expired = old[:MAX_COUNTED].count()
        label = str(model._meta.verbose_name_plural) if model else name
        found.append(
            TableSize(name, label, count, size, index_size, dead, kept_for, expired)
        )
    return found
