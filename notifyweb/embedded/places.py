"""Where the embedded services keep their files, worked out from the data directory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

# sockaddr_un holds 107 bytes and a zero; ``/postgres/.s.PGSQL.5432`` comes behind.
LONGEST_SOCKET_FOLDER = 80
POSTGRES_PORT = 5432
SUPERUSER = "postgres"
ROLE = "notifyweb"
DATABASE = "notifyweb"


@dataclass(frozen=True, slots=True)
class Places:
    data: Path

    @property
    def run(self) -> Path:
        """The folder of sockets: in the data directory, or a short one elsewhere."""
        inside = self.data / "run"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_FOLDER:
            return inside
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"notifyweb-{os.getuid()}-{digest}"

    @property
    def cluster(self) -> Path:
        return self.data / "postgres"

    @property
    def postgres_run(self) -> Path:
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
