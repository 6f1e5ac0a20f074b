"""How Django reaches PostgreSQL: time limits on everything, a pool where asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notifyweb.environment import DatabaseAddress

CONNECT_TIMEOUT_S = 5
POOL_TIMEOUT_S = 3
IDLE_IN_TRANSACTION_MS = 60_000
KEEP_CONNECTION_S = 60


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one statement, and the wait for one lock, may take."""

    statement_ms: int
    lock_ms: int


def database_settings(
    address: DatabaseAddress, patience: Patience, *, pool: int
) -> dict[str, Any]:
    """``DATABASES["default"]``. ``pool`` is its size; 0 keeps one connection each."""
    options: dict[str, object] = {
        **dict(address.options),
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "notifyweb",
        "options": (
            f"-c statement_timeout={patience.statement_ms} "
            f"-c lock_timeout={patience.lock_ms} "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
        ),
    }
    found: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
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
        pool_connections(found, pool)
    return found


def pool_connections(database: dict[str, Any], size: int) -> None:
    """Share ``size`` connections among the threads that connect from now on."""
    database["CONN_MAX_AGE"] = 0
    database["OPTIONS"]["pool"] = {
        "min_size": 1,
        "max_size": size,
        "timeout": POOL_TIMEOUT_S,
    }
