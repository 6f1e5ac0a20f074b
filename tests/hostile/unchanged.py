"""Proof that nothing came of a message: the whole database, before and after.

Tables that record every message are ignored: inbox rows with the reason of a refusal, error
responses, the audit log and cached answers of Keys Servers.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.apps import apps
from django.conf import settings
from django.db import connection

from messaging.models import OutboxMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT_OF_EVERYTHING = (
    "accounts_auditentry",
    "identity_knownidentity",
    "messaging_inboxmessage",
    "messaging_outboxmessage",
)
# One query for all tables: the number of rows and a digest of their content.
ONE_TABLE = """
SELECT '{table}', count(*), md5(string_agg(kept::text, '|' ORDER BY kept::text))
FROM "{table}" AS kept
"""


def contents() -> dict[str, tuple[int, str]]:
    """Number of rows and digest of each table."""
    tables = sorted(
        model._meta.db_table
        for config in apps.get_app_configs()
        if config.name in settings.OUR_APPS
        for model in config.get_models()
        if model._meta.db_table not in KEPT_OF_EVERYTHING
    )
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(ONE_TABLE.format(table=t) for t in tables))
        return {table: (count, digest) for table, count, digest in cursor.fetchall()}


def changed_since(before: dict[str, tuple[int, str]]) -> dict[str, tuple[int, int]]:
    """Changed tables, with the number of their rows before and after."""
    after = contents()
    return {
        table: (before[table][0], after[table][0])
        for table in before
        if before[table] != after[table]
    }


@contextmanager
def nothing_changes() -> Iterator[None]:
    """The block must leave every row of every table unchanged."""
    before = contents()
    yield
    changed = changed_since(before)
    assert not changed, f"changed: {changed}"


@contextmanager
def nothing_is_sent() -> Iterator[None]:
    """The block must send no response and change nothing."""
    before = OutboxMessage.objects.count()
    with nothing_changes():
        yield
    assert OutboxMessage.objects.count() == before
