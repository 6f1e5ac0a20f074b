"""A cursor that binds on the server, for statements that carry whole columns.

Django's cursors write parameters into the statement as text. For an array of a thousand
envelopes that costs ten times as much as sending it in binary, which is what ``%(x)b``
asks for. It is the same connection and the same transaction.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def column_cursor() -> Iterator[psycopg.Cursor[Any]]:
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    with (
        connection.wrap_database_errors,
        psycopg.Cursor(connection.connection) as cursor,
    ):
        yield cursor
