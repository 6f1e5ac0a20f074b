"""A lease that ends with the database session of who took it.

PostgreSQL ends the sessions of a killed worker at once. A row that names its holder's
session in ``leased_by`` is free again then, long before its time is up. Taking a row from
a holder that lives after all has to be harmless: what a holder writes must stand only
while the row is as it was taken.
"""

from __future__ import annotations

from typing import Final

from django.db import connection
from django.db.models import Q
from django.db.models.expressions import RawSQL

# The numbers of all sessions. A user sees those of others too, though not their texts.
ALIVE: Final = "SELECT pid FROM pg_stat_activity WHERE pid IS NOT NULL"


def own_number() -> int:
    """The number of this thread's database session."""
    # Asked of PostgreSQL: a pooler in between gives libpq a number of its own.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        number: int = cursor.fetchone()[0]
    return number


def is_abandoned() -> Q:
    """Rows whose holder's session is gone."""
    alive = RawSQL(ALIVE, ())  # noqa: S611  # a constant of ours
    return Q(leased_by__isnull=False) & ~Q(leased_by__in=alive)
