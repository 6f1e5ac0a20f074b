"""Log formats: one line per event, with its request id, without secrets.

No code should pass a key to a logger. As a second defence the formatters mask everything
that looks like a key, a token or a signature. Peer-supplied text is escaped, so that it
cannot forge a log line.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg

if TYPE_CHECKING:
    from types import TracebackType

current_request: ContextVar[str] = ContextVar("current_request", default="")

MAX_VALUE_LENGTH = 500
MASK = "***"
# Names whose values are masked, also inside longer names such as ``project_secret``.
SECRET_NAME = re.compile(
    r"(?i)(?<![\w-])((?:[\w-]{0,40}[_-])?(?:sym_?key|private_?key|secret(?:_?key)?|password|"
    r"passwd|pwd|\w{0,40}token|api_?key|authorization|auth|cookie|session_?key|entropy|"
    r"signature|mnemonic|seed|keychain_keys)[\"']?\s*[=:]\s*)(?:bearer\s+|basic\s+)?"
    r"(?:\"[^\"]*\"|'[^']*'|[^\s\"',;&)}\]]+)"
)
BEARER = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}")
# did-jwts and other three-part tokens.
JWT = re.compile(r"\beyJ[\w-]{10,}\.[\w-]+\.[\w-]*")
# A signature, and a private key as wallets write them.
HEX_SECRET = re.compile(r"\b0x[0-9a-fA-F]{64,}\b")
# A password, or a user alone, which then is a token.
USER_IN_URL = re.compile(r"(://)(?:([^/\s:@]*:)[^/\s]+|[^/\s:@]+)@")
# Shorter values would also mask unrelated text that happens to be equal.
MIN_HIDDEN_LENGTH = 8
_hidden: set[str] = set()
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def hide(*values: str) -> None:
    """Mask these values, the secrets of the settings, in everything logged from now on."""
    for value in values:
        if len(value) >= MIN_HIDDEN_LENGTH:
            _hidden.update({value, quote(value), quote(value, safe="")})


def redact(text: str) -> str:
    for value in _hidden:
        text = text.replace(value, MASK)
    text = SECRET_NAME.sub(rf"\1{MASK}", text)
    text = BEARER.sub(rf"\1{MASK}", text)
    text = JWT.sub(MASK, text)
    text = HEX_SECRET.sub(MASK, text)
    return USER_IN_URL.sub(rf"\1\2{MASK}@", text)


def redact_uncaught_errors() -> None:
    """Redact the traceback that Python prints when a process or a thread fails."""

    def report(
        kind: type[BaseException],
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lines = traceback.format_exception(kind, error, trace)
        sys.stderr.write(redact("".join(lines)))

    sys.excepthook = report
    threading.excepthook = lambda found: report(
        found.exc_type, found.exc_value, found.exc_traceback
    )


def _plain(value: object) -> str:
    text = redact(str(value))
    text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + "…"


def _extras(record: logging.LogRecord) -> dict[str, str]:
    found = {
        name: MASK if SECRET_NAME.match(f"{name}=x") else _plain(value)
        for name, value in vars(record).items()
        if name not in STANDARD and not name.startswith("_")
    }
    # Django's own records carry whole requests and responses.
    for name in ("request", "server_time", "color_message", "data"):
        found.pop(name, None)
    if current_request.get():
        found["request_id"] = current_request.get()
    return found


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    error = record.exc_info[1]
    # Django raises its own error from that of psycopg.
    for each in (error, error.__cause__ if error else None):
        if isinstance(each, psycopg.OperationalError) and (
            each.sqlstate is None or each.sqlstate.startswith(("08", "57P"))
        ):
            # A lost connection fails many requests at once, and the trace adds nothing.
            return ""
    return redact(formatter.formatException(record.exc_info))


class TextFormatter(logging.Formatter):
    """Human-readable: level, logger, message, then ``name=value`` pairs."""

    def format(self, record: logging.LogRecord) -> str:
        extras = " ".join(f"{name}={value}" for name, value in _extras(record).items())
        line = f"{record.levelname} {record.name}: {_plain(record.getMessage())}"
        line = f"{line} {extras}".rstrip()
        trace = _trace(self, record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        value: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "event": _plain(record.getMessage()),
            "process": os.environ.get("NOTIFYWEB_PROCESS", ""),
            **_extras(record),
        }
        if trace := _trace(self, record):
            value["trace"] = trace
        return json.dumps(value)


def configuration(*, level: str, form: str) -> dict[str, Any]:
    """``settings.LOGGING``."""
    formatter = JsonFormatter if form == "json" else TextFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "line",
            }
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            # Access logs are left to the proxy.
            "django.request": {"level": "ERROR"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "daphne": {"level": "WARNING"},
            "celery": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "django_celery_beat": {"level": "WARNING"},
            "websockets": {"level": "WARNING"},
            "twisted": {"level": "WARNING"},
            "asyncio": {"level": "WARNING"},
        },
    }
