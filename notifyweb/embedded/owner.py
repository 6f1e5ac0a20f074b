"""The user that PostgreSQL runs as.

PostgreSQL refuses to run as root. Root therefore gives the cluster to an unprivileged
user and starts the server as that user, without any capability. That user can usually
not pass the folders above the cluster (root's home has mode 0700), and their permissions
stay as they are: the server is started with the cluster as its working directory and
reaches it as ``/proc/self/cwd``, which the kernel resolves without walking the path.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from notifyweb.environment import SettingError

if TYPE_CHECKING:
    from pathlib import Path

UNPRIVILEGED_USER = "nobody"
WORKING_DIRECTORY = "/proc/self/cwd"


@dataclass(frozen=True, slots=True)
class Owner:
    """The user who owns the cluster; None means the current user."""

    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def cluster_owner() -> Owner | None:
    """The user for PostgreSQL, None if the current user will do."""
    if os.getuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise SettingError(
            "Embedded PostgreSQL cannot run as root, and this system has no user "
            f"{UNPRIVILEGED_USER}; start as an ordinary user or set DATABASE_URL."
        ) from None
    return Owner(entry.pw_uid, entry.pw_gid)


def popen_arguments(owner: Owner | None) -> dict[str, Any]:
    return {} if owner is None else owner.popen_arguments()


def give(folder: Path, owner: Owner | None) -> None:
    """Create ``folder``, accessible to ``owner`` only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    if owner is not None:
        os.chown(folder, owner.uid, owner.gid)
