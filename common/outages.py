"""Which errors mean that the database is unavailable, and not that a statement is wrong."""

from __future__ import annotations

from typing import Final

import psycopg
from django.db import InterfaceError, OperationalError

_UNAVAILABLE: Final = (
    OperationalError,
    InterfaceError,
    # COPY raises the errors of psycopg, without Django's around them.
    psycopg.OperationalError,
    psycopg.InterfaceError,
    # PostgreSQL counts two among internal errors: a standby after a failover, and a session
    # that was ended because its process stood still.
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
)


def is_database_unavailable(error: BaseException | None) -> bool:
    """Whether the same statement can succeed later, without any change of ours."""
    if error is None:
        return False
    return isinstance(error, _UNAVAILABLE) or isinstance(error.__cause__, _UNAVAILABLE)
