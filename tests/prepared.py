"""What a first start makes, made once and copied for each system and database of the tests.

Migrations are most of a first start: seven seconds of a processor. ``.data-test/prepared-copies``
has an installation that ``manage.py prepare`` made, for the code as it is now.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from notifyweb.embedded.lease import locked

BASE = Path(__file__).resolve().parent.parent
FOLDER = BASE / ".data-test" / "prepared-copies"


@functools.cache
def digest_of_code() -> str:
    """Changes with any file that may have a part in what ``manage.py prepare`` makes."""
    digest = hashlib.sha256(sys.version.encode())
    packages = [path.parent for path in BASE.glob("*/__init__.py")]
    files = [BASE / "requirements.txt", *(BASE / "static").rglob("*")]
    for package in packages:
        if package.name != "tests":
            files += package.rglob("*.py")
            files += (package / "static").rglob("*")
    for file in sorted(files):
        found = file.stat()
        digest.update(f"{file} {found.st_mtime_ns} {found.st_size}\n".encode())
    return digest.hexdigest()[:20]


def copy_prepared(target: Path, environment: dict[str, str]) -> None:
    """Make ``target`` a data directory with migrations applied and secrets, never started."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Also while copying, so that no run of other code removes it.
    with locked(FOLDER / "lock"):
        made = FOLDER / digest_of_code()
        if not made.exists():
            for old in FOLDER.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
            # Renamed when it is complete.
            draft = FOLDER / "new"
            subprocess.run(
                [sys.executable, "manage.py", "prepare"],
                cwd=BASE,
                env=environment | {"NOTIFYWEB_DATA_DIR": str(draft)},
                check=True,
                stdout=subprocess.DEVNULL,
            )
            draft.rename(made)
        # ``cp`` keeps the owner of the cluster, who is another user for root.
        subprocess.run(["/bin/cp", "-a", made, target], check=True)
