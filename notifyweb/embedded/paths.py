"""Where the embedded services keep their files, worked out from the data directory."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

# sockaddr_un holds 107 bytes and a zero; ``/postgres/.s.PGSQL.5432`` comes behind.
MAX_SOCKET_FOLDER_LENGTH = 80
# Anything else means something in a Redis URL or in libpq's list of hosts.
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
        """The folder of sockets: in the data directory, or one of a short plain name.

        Every command works it out again, so it may depend on nothing that differs
        between two shells (``TMPDIR``, or how the data directory is written).
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
        """A link to the cluster, in which PostgreSQL's socket is."""
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
        """Every user of the services holds this shared; the last one may stop them."""
        return self.data / "services.users"

    @property
    def change_lock(self) -> Path:
        """Whoever starts or stops the services holds this alone."""
        return self.data / "services.change"
