"""What enters the container image, and that it runs from a tree it cannot write.

There is no container engine on a bare machine: these tests do the steps of
``deploy/Dockerfile`` and ``deploy/compose.yaml`` in a plain folder.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import psycopg
import pytest
import yaml
from django.conf import settings
from psycopg import sql

from notifyweb.embedded.paths import POSTGRES_PORT, ROLE
from tests.system import BASE, clean_environment, free_port

SECRET = "planted-secret-7f3a"
PRIVATE = (
    ".data/keychain_keys",
    ".data/secret_key",
    ".git/config",
    ".env",
    ".venv/pyvenv.cfg",
    "deploy/environment",
    "deploy/postgres.password",
    "backup.dump",
    "tests/fixtures/key.pem",
)


def ignored_patterns() -> list[str]:
    lines = (BASE / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def enters_image(path: str) -> bool:
    """Docker's rule: the last line that matches the path or a folder above it counts."""
    parts = path.split("/")
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    enters = True
    for line in ignored_patterns():
        pattern = line.removeprefix("!")
        names = parts if pattern.startswith("**/") else above
        if any(fnmatch(name, pattern.removeprefix("**/")) for name in names):
            enters = line.startswith("!")
    return enters


@pytest.fixture
def image(tmp_path):
    """The folder that an image holds, without its virtual environment."""
    checkout = tmp_path / "checkout"
    tracked = subprocess.run(
        [shutil.which("git") or "git", "ls-files", "-z"],
        cwd=BASE,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, tracked.stdout.split("\0")):
        if (BASE / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(BASE / name, checkout / name)
    for name in PRIVATE:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(SECRET)
    folder = tmp_path / "image"
    for path in checkout.rglob("*"):
        name = path.relative_to(checkout)
        if path.is_file() and enters_image(str(name)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder / name)
    return folder


def test_no_secret_of_a_checkout_enters_the_image(image):
    names = {str(path.relative_to(image)) for path in image.rglob("*")}
    assert names.isdisjoint(PRIVATE)
    for path in image.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_every_package_enters_the_image(image):
    for label in settings.OUR_APPS:
        assert (image / label / "__init__.py").is_file()
    assert (image / "locale/de/LC_MESSAGES/django.mo").is_file()
    copied = re.findall(
        r"^COPY (?!--from)(\S+)", (BASE / "deploy/Dockerfile").read_text(), re.M
    )
    for name in copied:
        assert (image / name).exists(), name


def test_containers_are_unprivileged():
    compose = yaml.safe_load((BASE / "deploy/compose.yaml").read_text())
    procfile = (BASE / "Procfile").read_text()
    for name, service in compose["services"].items():
        if name in ("postgres", "redis"):
            continue
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("volumes"), name
        process = service["command"].removeprefix("deploy/process ")
        assert f"\n{process}: " in f"\n{procfile}", name
    assert re.search(r"^USER (?!root)", (BASE / "deploy/Dockerfile").read_text(), re.M)


@pytest.fixture
def database(embedded_services):
    """The URL of an empty database."""
    name = f"test_{os.getpid()}_image"
    folder = str(settings.EMBEDDED_PATHS.postgres_run)

    def run(statement: str) -> None:
        with psycopg.connect(
            host=folder,
            port=POSTGRES_PORT,
            user=ROLE,
            dbname="notifyweb",
            autocommit=True,
        ) as line:
            line.execute(sql.SQL(statement).format(sql.Identifier(name)))

    run("CREATE DATABASE {}")
    yield f"postgres://{ROLE}@/{name}?host={folder}&port={POSTGRES_PORT}"
    run("DROP DATABASE IF EXISTS {} WITH (FORCE)")


@pytest.mark.system
def test_the_image_runs_from_a_tree_that_nothing_is_written_to(image, database):
    port, relay_port = free_port(), free_port()
    environment = clean_environment(
        DATABASE_URL=database,
        REDIS_URL=settings.REDIS_URL,
        SECRET_KEY="x" * 50,
        KEYCHAIN_KEYS="k1:" + base64.b64encode(bytes(32)).decode(),
        NOTIFYWEB_PUBLIC_URL=f"http://localhost:{port}",
        NOTIFYWEB_PORT=str(port),
        NOTIFYWEB_RELAY_PORT=str(relay_port),
        NOTIFYWEB_RELAY_PUBLIC_URL=f"ws://localhost:{relay_port}",
        PYTHONDONTWRITEBYTECODE="1",
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=image,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )

    run("python", "manage.py", "collectstatic", "--no-input", "-v", "0")
    before = contents(image)
    run("deploy/process", "release-image")
    with contextlib.ExitStack() as processes:
        for name in ("web", "relay", "gateway", "worker", "outbound", "beat"):
            process = subprocess.Popen(
                [image / "deploy/process", name],
                cwd=image,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            processes.callback(process.wait, 30)
            processes.callback(process.terminate)
        wait_until_ready(port)
    assert contents(image) == before


def wait_until_ready(port: int) -> None:
    state = b""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        try:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            with contextlib.closing(line):
                line.request("GET", "/readyz")
                response = line.getresponse()
                state = response.read()
            if response.status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(state)


def contents(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
    }
