"""Django's connection settings: time limits everywhere, a pool where requested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifyweb.environment import DatabaseAddress

CONNECT_TIMEOUT_S = 5
POOL_TIMEOUT_S = 3
# The pool doubles the pause between its attempts until this time has passed, and starts
# over with the next request. Five seconds keep the longest pause short.
POOL_RECONNECT_S = 5
IDLE_IN_TRANSACTION_MS = 60_000
KEEP_CONNECTION_S = 60
# libpq takes whole seconds and treats one as two.
PROBE_TIMEOUT_S = 2
# A peer that vanished without closing is noticed within seconds. A thread that waits for
# it holds a pooled connection until then. Unix sockets ignore all four.
TCP_OPTIONS = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one statement, and the wait for one lock, may take."""

    statement_ms: int
    lock_ms: int


def database_settings(
    address: DatabaseAddress, timeouts: Timeouts, *, pool: int
) -> dict[str, Any]:
    """``DATABASES["default"]``. ``pool`` is its size; 0 keeps one connection each."""
    options: dict[str, object] = {
        **TCP_OPTIONS,
        **dict(address.options),
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "notifyweb",
        "session": {
            "statement_timeout": str(timeouts.statement_ms),
            "lock_timeout": str(timeouts.lock_ms),
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
        },
    }
    database: dict[str, Any] = {
        "ENGINE": "notifyweb.postgresql",
        "NAME": address.name,
        "HOST": address.host,
        "PORT": str(address.port),
        "USER": address.user,
        "PASSWORD": address.password,
        "CONN_MAX_AGE": KEEP_CONNECTION_S,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }
    if pool:
        pool_connections(database, pool)
    return database


def probe_arguments(database: Mapping[str, Any]) -> dict[str, Any]:
    """libpq arguments for one short connection outside Django's."""
    options = dict(database["OPTIONS"])
    for ours in ("pool", "session"):
        options.pop(ours, None)
    named = {
        "dbname": database["NAME"],
        "host": database["HOST"],
        "port": database["PORT"],
        "user": database["USER"],
        "password": database["PASSWORD"],
    }
    given = {name: value for name, value in named.items() if value}
    return (
        options
        | given
        | {
            "connect_timeout": PROBE_TIMEOUT_S,
            "autocommit": True,
            # A pooler may give the next statement to a session that prepared nothing.
            "prepare_threshold": None,
        }
    )


def pool_connections(database: dict[str, Any], size: int) -> None:
    """Share ``size`` connections among the threads that connect from now on."""
    database["CONN_MAX_AGE"] = 0
    database["OPTIONS"]["pool"] = {
        "min_size": 1,
        "max_size": size,
        "timeout": POOL_TIMEOUT_S,
        "reconnect_timeout": POOL_RECONNECT_S,
    }
