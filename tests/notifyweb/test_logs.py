"""Logs contain events, never secrets."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import time
from urllib.parse import quote

import psycopg
import pytest
from django.db import OperationalError

from notifyweb import logs, reports
from notifyweb.logs import (
    JsonFormatter,
    TextFormatter,
    configuration,
    current_request,
    redact,
)
from tests.system import BASE, clean_environment

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
        f"?projectId=1&auth={KEY}",
        f"auth={KEY}",
        f"Bearer {KEY}",
        f"'Authorization': 'Bearer {KEY}'",
        f"Proxy-Authorization: Basic {KEY}",
        f'password="two words {KEY}"',
        f"SECRET_KEY={KEY}",
        f"project_secret: {KEY}",
        f"access_token={KEY}",
        f"csrfmiddlewaretoken={KEY}",
        f"https://{KEY}@sentry.example/1",
        f"rediss://:p@{KEY}@cache.example/0",
        f"host=db user=notifyweb password={KEY} dbname=x",
    ],
)
@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
def test_text_that_looks_like_a_secret_is_masked(formatter, text):
    in_message = formatter().format(record(text))
    as_argument = formatter().format(record("got %s", text))
    as_extra = formatter().format(record("got", detail=text))
    for line in (in_message, as_argument, as_extra):
        assert KEY not in line
        assert JWT not in line


def test_a_value_with_a_secret_name_is_masked():
    assert KEY not in JsonFormatter().format(record("got", sym_key=KEY))


def test_a_traceback_is_masked():
    try:
        raise ValueError(f"symKey={KEY}")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (type(error), error, error.__traceback__)
    for formatter in (TextFormatter(), JsonFormatter()):
        assert KEY not in formatter.format(made)
        assert "ValueError" in formatter.format(made)


def test_a_lost_database_connection_is_logged_without_traceback():
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


def test_peer_supplied_text_cannot_forge_a_line():
    line = TextFormatter().format(record("title %s", "a\nINFO x: forged\x1b[31m"))
    assert "\n" not in line
    assert "\x1b" not in line


def test_long_text_is_shortened():
    assert len(TextFormatter().format(record("x" * 10_000))) < 600


def test_a_json_line_is_one_object():
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


PLANTED = "planted-Pa55word%/of:settings"


@pytest.mark.parametrize(
    "text",
    [
        PLANTED,
        f"connection to {quote(PLANTED, safe='')} failed",
        f"before{PLANTED}after",
    ],
)
def test_a_secret_of_the_settings_is_masked_everywhere(monkeypatch, text):
    monkeypatch.setattr(logs, "_hidden", set())
    logs.hide(PLANTED, "short")
    cut = redact(text)
    assert PLANTED not in cut
    assert quote(PLANTED, safe="") not in cut
    assert redact("a short one") == "a short one"


@pytest.mark.system
@pytest.mark.parametrize("where", ["", "threading.Thread(target=fail).start()"])
def test_an_error_that_ends_a_process_is_printed_without_secrets(where):
    code = (
        "import threading\n"
        "from notifyweb.logs import redact_uncaught_errors\n"
        "redact_uncaught_errors()\n"
        f"def fail(): raise ValueError('ws://[::1]:8080/?auth={KEY}')\n"
        f"{where or 'fail()'}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BASE, capture_output=True, text=True
    )
    assert "ValueError" in done.stderr
    assert KEY not in done.stderr


def test_a_sentry_report_contains_no_secret():
    event = {
        "request": {"url": f"http://localhost/?auth={KEY}", "cookies": KEY},
        "exception": {"values": [{"value": f"password={KEY}", "stacktrace": None}]},
        "extra": {"detail": f"symKey={KEY}", "sym_key": KEY, "list": [f"auth={KEY}"]},
        "logentry": {"message": "got %s", "params": [f"secret={KEY}"]},
        "level": "error",
    }
    reported = reports._redacted(event, None)
    assert KEY not in json.dumps(reported)
    assert reported["level"] == "error"


@pytest.mark.system
@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", f"postgres://notifyweb:{KEY}@127.0.0.1:1/notifyweb"),
        ("DATABASE_URL", f"postgres://127.0.0.1:1/notifyweb?password={KEY}"),
        ("DATABASE_URL", f"postgres://notifyweb:{KEY}@127.0.0.1:port/notifyweb"),
        ("REDIS_URL", f"redis://:{KEY}@127.0.0.1:1/0"),
        ("REDIS_URL", f"redis://:{KEY}@127.0.0.1:1/not-a-number"),
        ("RELAY_URL", f"wss://user:{KEY}@relay.example"),
        ("RELAY_URL", f"wss://relay.example/?auth={KEY}"),
        ("EMAIL_URL", f"smtp://user:{KEY}@mail.example:port"),
        ("SENTRY_DSN", f"https://{KEY}@not a dsn"),
    ],
)
def test_a_setting_that_fails_does_not_print_its_secret(tmp_path, name, url):
    given = {
        "NOTIFYWEB_DATA_DIR": str(tmp_path),
        "DATABASE_URL": "postgres://127.0.0.1:1/notifyweb",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SECRET_KEY": "x" * 50,
        "KEYCHAIN_KEYS": "k1:" + base64.b64encode(bytes(32)).decode(),
    }
    for command in (
        ["manage.py", "daphne"],
        ["-m", "celery", "-A", "notifyweb", "beat"],
    ):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=BASE,
            env=clean_environment(**given | {name: url}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode
        assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["a_", "token", "://", "a:@", "secret", "bearer "])
def test_long_text_is_redacted_in_linear_time(text):
    began = time.monotonic()
    redact(text * (200_000 // len(text)))
    assert time.monotonic() - began < 2
