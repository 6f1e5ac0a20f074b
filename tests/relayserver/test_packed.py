"""Arrays in PostgreSQL's binary form are what psycopg would have made of the lists."""

from __future__ import annotations

import psycopg
import pytest
from django.conf import settings
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from relayserver.storage import packed_arrays

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
BIGINT = st.integers(-(2**63), 2**63 - 1)
FEW = examples(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def connection(db):
    database = settings.DATABASES["default"]
    with psycopg.connect(
        dbname=database["NAME"],
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        autocommit=True,
    ) as connection:
        packed_arrays.register(connection)
        yield connection


def came_back(connection, array, kind):
    return connection.execute(f"SELECT %s::{kind}[]", [array]).fetchone()[0]


@FEW
@given(values=st.lists(TEXT))
def test_texts(connection, values):
    assert came_back(connection, packed_arrays.texts(values), "text") == values


@FEW
@given(values=st.lists(TEXT | st.none()))
def test_texts_with_nulls(connection, values):
    assert came_back(connection, packed_arrays.optional_texts(values), "text") == values


@FEW
@given(values=st.lists(BIGINT))
def test_bigints(connection, values):
    assert came_back(connection, packed_arrays.bigints(values), "bigint") == values


def test_texts_of_one_length(connection):
    values = [f"{n:064x}" for n in range(500)]

    assert came_back(connection, packed_arrays.texts(values), "text") == values
