"""Logs carry what happened and never what must stay secret."""

from __future__ import annotations

import json
import logging

import psycopg
import pytest
from django.db import OperationalError

from notifyweb.logs import (
    JsonFormatter,
    TextFormatter,
    configuration,
    current_request,
    redact,
)

KEY = "a3f1" * 16
JWT = "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJkaWQ6a2V5OnoifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


def record(message, *args, **extra):
    made = logging.LogRecord("a.b", logging.INFO, "", 0, message, args, None)
    vars(made).update(extra)
    return made


@pytest.mark.parametrize(
    "text",
    [
        f"symKey={KEY}",
        f'{{"symKey": "{KEY}"}}',
        f"sym_key: {KEY}",
        f"private_key={KEY}",
        f"Authorization: Bearer {KEY}",
        f"authorization={KEY}",
        f"secret={KEY}",
        f"password='{KEY}'",
        f"Cookie: {KEY}",
        f"signature=0x{KEY}{KEY}1b",
        f"signed 0x{KEY}{KEY}1b by the wallet",
        f"wallet key 0x{KEY}",
        f"subscriptionAuth {JWT}",
        f"postgres://notifyweb:{KEY}@db.example/notifyweb",
        f"?auth={JWT}&projectId=1",
    ],
)
@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
def test_what_looks_like_a_secret_is_cut(formatter, text):
    in_message = formatter().format(record(text))
    as_argument = formatter().format(record("got %s", text))
    as_extra = formatter().format(record("got", detail=text))
    for line in (in_message, as_argument, as_extra):
        assert KEY not in line
        assert JWT not in line


def test_a_value_under_a_secret_name_is_cut():
    assert KEY not in JsonFormatter().format(record("got", sym_key=KEY))


def test_a_trace_is_cut_as_well():
    try:
        raise ValueError(f"symKey={KEY}")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (type(error), error, error.__traceback__)
    for formatter in (TextFormatter(), JsonFormatter()):
        assert KEY not in formatter.format(made)
        assert "ValueError" in formatter.format(made)


def test_a_database_that_is_away_needs_no_trace():
    made = record("no luck")
    lost = psycopg.OperationalError("connection failed: refused")
    away = OperationalError("connection failed: refused")
    away.__cause__ = lost
    for error in (lost, away):
        made.exc_info = (type(error), error, None)
        assert TextFormatter().format(made) == "INFO a.b: no luck"
        assert "trace" not in json.loads(JsonFormatter().format(made))
    deadlock = psycopg.errors.DeadlockDetected("deadlock detected")
    made.exc_info = (type(deadlock), deadlock, None)
    assert "deadlock detected" in TextFormatter().format(made)


def test_topics_and_steps_stay_readable():
    line = TextFormatter().format(record("settled", topic=KEY, step=4))
    assert line == f"INFO a.b: settled topic={KEY} step=4"
    assert redact("step 4 of did:pkh:eip155:1:0xAb") == (
        "step 4 of did:pkh:eip155:1:0xAb"
    )


def test_text_of_strangers_cannot_begin_a_line():
    line = TextFormatter().format(record("title %s", "a\nINFO x: forged\x1b[31m"))
    assert "\n" not in line
    assert "\x1b" not in line


def test_long_text_is_shortened():
    assert len(TextFormatter().format(record("x" * 10_000))) < 600


def test_a_line_for_machines_is_one_object():
    token = current_request.set("abcdef0123456789")
    try:
        value = json.loads(JsonFormatter().format(record("done", topic="t")))
    finally:
        current_request.reset(token)
    assert value["event"] == "done"
    assert value["level"] == "INFO"
    assert value["topic"] == "t"
    assert value["request_id"] == "abcdef0123456789"


def test_the_configuration_names_its_form():
    made = configuration(level="INFO", form="json")
    assert made["formatters"]["line"]["()"] is JsonFormatter
    assert made["root"]["level"] == "INFO"
