"""Upkeep under load: backup, change of the sealing key, rolling restart, a full disk."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.deployment import is_running
from tests.faults.waiting import wait_for
from tests.system import BASE, free_port

if TYPE_CHECKING:
    from tests.faults.deployment import Deployment
    from tests.faults.invariants import Findings
    from tests.faults.world import World

# On a busy machine, beside a system under load.
COMMAND_S = 600.0
ROLLED = ("web", "relay", "gateway", "worker", "outbound")


# --- backup ---------------------------------------------------------------------------


def backup(world: World, found: Findings) -> list[str]:
    """A backup is killed in the middle; the next one is complete and can be restored."""
    system = world.system
    path = system.data_dir / "backup"
    killed = subprocess.Popen(
        [sys.executable, "manage.py", "backup", str(path)],
        cwd=BASE,
        env=system.environment,
    )
    wait_for("the dump", lambda: list(system.data_dir.glob("backup.*.part")))
    killed.kill()
    killed.wait()
    found.require("a killed backup leaves no file", holds=not path.exists())
    done = system.manage("backup", str(path), "--json", timeout=COMMAND_S)
    made = json.loads(done.stdout)
    keys = (system.data_dir / "data" / "keychain_keys").read_text().strip()
    found.require(
        "no sealing key in the backup",
        holds=keys.partition(":")[2].encode() not in path.read_bytes(),
    )
    return [f"{made['bytes']} bytes", *_restore_elsewhere(system, path, found)]


def _restore_elsewhere(system: Deployment, path: Path, found: Findings) -> list[str]:
    """Into another data directory, killed in the middle and run again."""
    other = type(system)()
    data = other.data_dir / "data"
    data.mkdir(mode=0o700)
    try:
        # Without them nothing in the backup could be opened.
        for name in ("keychain_keys", "secret_key"):
            if (kept := system.data_dir / "data" / name).exists():
                shutil.copy(kept, data / name)
        other.manage("migrate", "--verbosity", "0", timeout=COMMAND_S)
        environment = other.environment
        other.environment = {**environment, "NOTIFYWEB_FAILPOINTS": "restore.loaded"}
        killed = other.manage("restore", str(path), check=False, timeout=COMMAND_S)
        other.environment = environment
        found.require("the restore was killed", holds=killed.returncode < 0)
        done = other.manage("restore", str(path), "--json", timeout=COMMAND_S)
        restored = json.loads(done.stdout)
        other.start()
        return [f"restored and started, {restored['devices_signed_out']} signed out"]
    finally:
        other.remove()


# --- the sealing key ------------------------------------------------------------------


def rotation(world: World, found: Findings) -> list[str]:
    """F42: both keys open meanwhile; killed after the first batch, then finished."""
    system = world.system
    file = system.data_dir / "data" / "keychain_keys"
    old = file.read_text().strip()
    new = f"new{secrets.token_hex(2)}:{b64encode(secrets.token_bytes(32)).decode()}"
    for keys in (f"{old},{new}", f"{new},{old}"):
        file.write_text(keys)
        system.manage("migrate", "--verbosity", "0", timeout=COMMAND_S)
        _restart_all(system)
    environment = {**system.environment, "NOTIFYWEB_FAILPOINT_FOLDER": ""}
    command = [
        sys.executable,
        "manage.py",
        "rotate_keychain",
        "--json",
        "--batch",
        "20",
    ]
    killed = subprocess.run(
        command,
        cwd=BASE,
        env={**environment, "NOTIFYWEB_FAILPOINTS": "keychain.rotate.after_batch"},
        check=False,
    )
    found.require("the rotation was killed", holds=killed.returncode == -signal.SIGKILL)
    # What was sealed with the old key while the processes restarted is found by a second run.
    done = system.manage(*command[2:], timeout=COMMAND_S)
    outcome = json.loads(done.stdout)
    found.require(f"all is sealed anew: {outcome}", holds=outcome["left"] == 0)
    found.require(f"all opens: {outcome}", holds=outcome["refused"] == 0)
    file.write_text(new)
    _restart_all(system)
    _use_keys_here(new)
    return [f"{outcome['resealed']} values sealed again behind the kill"]


def _restart_all(system: Deployment) -> None:
    system.kill("preloader", signal.SIGTERM)
    time.sleep(1)
    system.wait_until_ready()


def _use_keys_here(keys: str) -> None:
    """The runner opens keys of both sides, too."""
    from django.conf import settings

    settings.KEYCHAIN_KEYS = keys.split(",")


# --- two of each process --------------------------------------------------------------


def rolling_restart(world: World, found: Findings) -> list[str]:
    """Two of each process; every one is ended by SIGTERM and started again, in turn."""
    system = world.system
    ports = {
        "NOTIFYWEB_PORT": str(free_port()),
        "NOTIFYWEB_RELAY_PORT": str(free_port()),
    }
    environment = {
        **system.environment,
        **ports,
        "NOTIFYWEB_RELAY_HOST": "127.0.0.1",
        "NOTIFYWEB_PUBLIC_URL": system.base_url,
        "NOTIFYWEB_RELAY_PUBLIC_URL": system.relay_url,
    }
    seconds = {name: _start(system, name, environment) for name in ROLLED}
    slowest = 0.0
    try:
        for name in ROLLED:
            _wait_until_up(name, seconds[name])
        for name in ROLLED:
            began = time.monotonic()
            old = system.kill(name, signal.SIGTERM)
            wait_for(f"{name} to end", lambda old=old: not is_running(old))
            slowest = max(slowest, time.monotonic() - began)
            system.wait_until_back(name, old)
            seconds[name].terminate()
            code = seconds[name].wait(25)
            found.require(f"{name} ends with 0: {code}", holds=code == 0)
            seconds[name] = _start(system, name, environment)
            _wait_until_up(name, seconds[name])
    finally:
        for process in seconds.values():
            process.terminate()
        for process in seconds.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(25)
            if process.poll() is None:
                process.kill()
                process.wait()
    return [f"ten processes restarted in turn; the slowest took {slowest:.1f} s to end"]


def _wait_until_up(name: str, process: subprocess.Popen[bytes]) -> None:
    """Until it catches SIGTERM, which ended it without ceremony before."""

    def catches_it() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        caught = int(status.partition("SigCgt:\t")[2].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    wait_for(f"a second {name}", catches_it, timeout=300)


def _start(
    system: Deployment, name: str, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """A second process of that name, by the line of the Procfile."""
    lines = (BASE / "Procfile").read_text().splitlines()
    [line] = [each for each in lines if each.startswith(f"{name}: ")]
    words = line.partition(": ")[2].split()
    program = ["-m", "celery"] if words[0] == "celery" else []
    arguments = [sys.executable, *program, *words[1:]]
    arguments = [each.replace("@%h", "-second@%h") for each in arguments]
    with system.log.open("ab") as log:
        return subprocess.Popen(
            arguments, cwd=BASE, env=environment, stdout=log, stderr=log
        )


# --- a full disk ----------------------------------------------------------------------


def disk_full(world: World, found: Findings) -> list[str]:
    """The data directory is a small file system of its own (``Deployment.small_disk``)."""
    system = world.system
    if not system.has_small_disk:
        return ["not run: mounting a small file system needs root"]
    filler = system.data_dir / "data" / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
    try:
        wait_for("/readyz to notice", lambda: not _takes_writes(world), timeout=30)
        time.sleep(15)
    finally:
        filler.unlink()
    os.sync()
    return ["writes failed for 15 s"]


def _takes_writes(world: World) -> bool:
    status, components = world.system.readiness()
    return status == 200 or bool(components.get("writes", {}).get("ok", True))
