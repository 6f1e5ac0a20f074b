"""Django's backend; ``OPTIONS["session"]`` are settings of each new session.

libpq could send these settings as startup ``options``, but PgBouncer refuses or ignores
that parameter, and a statement without a time limit may hold a connection for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.backends.postgresql import base

if TYPE_CHECKING:
    import psycopg


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        arguments: dict[str, Any] = super().get_connection_params()
        arguments.pop("session", None)
        return arguments

    # Django calls this for each new connection, pooled or not; True asks for a commit.
    def _configure_connection(self, connection: psycopg.Connection[Any]) -> bool:
        for name, value in self.settings_dict["OPTIONS"].get("session", {}).items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        super()._configure_connection(connection)  # type: ignore[misc] # not in the stubs
        return True
