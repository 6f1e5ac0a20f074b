"""Which errors mean that the database is unavailable, and not that a statement is wrong."""

from __future__ import annotations

from typing import Final

import psycopg
from django.db import InterfaceError, OperationalError

# PostgreSQL counts them among internal errors: a standby after a failover, and a session
# that was ended because its process stood still.
_UNAVAILABLE: Final = (
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
)


def is_database_unavailable(error: BaseException | None) -> bool:
    """Whether the same statement can succeed later, without any change of ours."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return error is not None and isinstance(error.__cause__, _UNAVAILABLE)
