"""Paths of the embedded services, derived from the data directory."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

# sockaddr_un holds 107 bytes and a zero; ``/postgres/.s.PGSQL.5432`` comes behind.
MAX_SOCKET_FOLDER_LENGTH = 80
# Other characters have a meaning in a Redis URL or in libpq's list of hosts.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")
POSTGRES_PORT = 5432
SUPERUSER = "postgres"
ROLE = "notifyweb"
DATABASE = "notifyweb"


@dataclass(frozen=True, slots=True)
class Paths:
    data: Path

    @property
    def run(self) -> Path:
        """The folder of sockets: in the data directory, or with a short name in ``/tmp``.

        Every command derives it again, so it must not depend on anything that differs
        between two shells (``TMPDIR``, a relative path of the data directory).
        """
        data = Path(os.path.realpath(self.data))
        inside = data / "run"
        plain = PLAIN_PATH.fullmatch(str(inside)) is not None
        if plain and len(str(inside)) <= MAX_SOCKET_FOLDER_LENGTH:
            return inside
        digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
        return Path("/tmp") / f"notifyweb-{os.getuid()}-{digest}"  # noqa: S108

    @property
    def cluster(self) -> Path:
        return self.data / "postgres"

    @property
    def postgres_run(self) -> Path:
        """A link to the cluster, which contains PostgreSQL's socket."""
        return self.run / "postgres"

    @property
    def redis(self) -> Path:
        return self.data / "redis"

    @property
    def redis_socket(self) -> Path:
        return self.run / "redis.sock"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def users_lock(self) -> Path:
        """Locked shared by every user of the services, exclusively by the last one."""
        return self.data / "services.users"

    @property
    def change_lock(self) -> Path:
        """Locked exclusively while services are started or stopped."""
        return self.data / "services.change"
