"""A database that takes no writes is an outage and not a fault of a statement."""

from __future__ import annotations

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection

from accounts.models import User
from common.outages import is_database_unavailable

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def read_only():
    """As a standby after a failover that went wrong."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        yield
        cursor.execute("SET default_transaction_read_only = off")


def test_a_read_only_database_is_unavailable(read_only):
    with pytest.raises(DatabaseError) as raised:
        User.objects.create(username="alice")
    assert is_database_unavailable(raised.value)


def test_errors_of_copy_count_too(read_only):
    with (
        pytest.raises(psycopg.Error) as raised,
        connection.cursor() as cursor,
        cursor.copy("COPY accounts_user FROM STDIN"),
    ):
        pass
    assert is_database_unavailable(raised.value)


def test_a_session_that_was_ended_for_standing_still_is_unavailable():
    with pytest.raises(DatabaseError) as raised:
        raise DatabaseError from psycopg.errors.IdleInTransactionSessionTimeout()
    assert is_database_unavailable(raised.value)


def test_a_wrong_statement_is_none(db):
    User.objects.create(username="alice")
    with pytest.raises(IntegrityError) as raised:
        User.objects.create(username="alice")
    assert not is_database_unavailable(raised.value)
    assert not is_database_unavailable(ValueError())
    assert not is_database_unavailable(None)


def test_pages_that_write_answer_503_while_it_is_read_only(read_only, client):
    client.raise_request_exception = False
    form = {"signer": "elsewhere", "address": "0x" + "a1" * 20}
    refused = client.post("/signin/begin", form)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert client.get("/signin").status_code == 200
