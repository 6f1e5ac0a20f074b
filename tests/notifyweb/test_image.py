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
from tests.system import BASE, clean_environment, free_port, tcp_port_to

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
        # Python as the first process ignores a SIGTERM that it has no handler for yet.
        assert service["init"], name
        assert not service.get("volumes"), name
        process = service["command"].removeprefix("deploy/process ")
        assert f"\n{process}: " in f"\n{procfile}", name
    assert re.search(r"^USER (?!root)", (BASE / "deploy/Dockerfile").read_text(), re.M)


def test_the_unit_is_valid_and_its_processes_have_no_capabilities(tmp_path):
    unit = (BASE / "deploy/systemd/notifyweb@.service").read_text()
    for line in (
        "User=notifyweb",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        # Celery's children die of SIGTERM, and their tasks with them.
        "KillMode=mixed",
    ):
        assert f"\n{line}\n" in unit
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    # It checks that the program exists; names and options are as deployed.
    path = tmp_path / "notifyweb@.service"
    path.write_text(unit.replace("/srv/notifyweb", str(BASE)))
    done = subprocess.run(
        [program, "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


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


# As in a container: nothing of the machine can be written but /tmp (and /dev), and the
# process has no capability. Arguments: the image's folder, Python's, then the command.
CONFINE = """
set -eu
image=$1 python=$2 libraries=$3; shift 3
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/notifyweb /mnt/python
mount --bind "$image" /mnt/notifyweb
mount --bind "$libraries" /mnt/notifyweb/.venv/lib
mount --rbind "$python" /mnt/python
mount -t tmpfs -o mode=1777 tmpfs /tmp
for each in /mnt /mnt/notifyweb /mnt/notifyweb/.venv/lib /; do
  mount -o remount,bind,ro "$each"
done
cd /mnt/notifyweb
exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all "$@"
"""


def unconfinable() -> str:
    """Why the image cannot run here as it does in a container; empty if it can."""
    if os.geteuid() != 0:
        return "needs root, to become another user"
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return "needs unshare and setpriv of util-linux"
    trial = "mount -t tmpfs tmpfs /mnt && mount -o remount,bind,ro /"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", trial],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return f"cannot mount: {done.stderr.strip()}" if done.returncode else ""


@pytest.fixture
def environment(database):
    port, relay_port = free_port(), free_port()
    return {
        "DATABASE_URL": database,
        "REDIS_URL": settings.REDIS_URL,
        "SECRET_KEY": "x" * 50,
        "KEYCHAIN_KEYS": "k1:" + base64.b64encode(bytes(32)).decode(),
        "NOTIFYWEB_PUBLIC_URL": f"http://localhost:{port}",
        "NOTIFYWEB_PORT": str(port),
        "NOTIFYWEB_RELAY_PORT": str(relay_port),
        "NOTIFYWEB_RELAY_PUBLIC_URL": f"ws://localhost:{relay_port}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def collect_static_files(image: Path) -> None:
    """The steps of the Dockerfile after the files are copied."""
    recipe = (BASE / "deploy/Dockerfile").read_text().replace("\\\n", "")
    steps = re.findall(r"^RUN (.*)$", recipe.rpartition("\nFROM ")[0], re.M)
    assert "pip install" in steps[0]
    # Neither chmod nor compileall follows it.
    (image / ".venv").symlink_to(sys.prefix)
    for step in steps[1:]:
        subprocess.run(
            ["/bin/sh", "-c", step],
            cwd=image,
            env={"PATH": os.environ["PATH"]},
            check=True,
        )
    (image / ".venv").unlink()


def run_all(image: Path, environment: dict[str, str], prefix: list[str]) -> None:
    """Migrate and start every process of the image; returns when all of them work."""
    started = {"cwd": image, "env": environment}
    done = subprocess.run(
        [*prefix, "deploy/process", "release-image"],
        capture_output=True,
        text=True,
        check=False,
        **started,
    )
    assert done.returncode == 0, done.stderr
    with contextlib.ExitStack() as processes:
        for name in ("web", "relay", "gateway", "worker", "outbound", "beat"):
            log = processes.enter_context((image.parent / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [*prefix, "deploy/process", name], stdout=log, stderr=log, **started
            )
            processes.callback(process.wait, 30)
            processes.callback(process.terminate)
        wait_until_ready(int(environment["NOTIFYWEB_PORT"]))


@pytest.mark.system
@pytest.mark.skipif(not unconfinable(), reason="the next test does it in confinement")
def test_the_image_runs_from_a_tree_that_nothing_is_written_to(image, environment):
    collect_static_files(image)
    before = contents(image)
    (image / ".venv").symlink_to(sys.prefix)
    run_all(image, clean_environment(**environment), [])
    (image / ".venv").unlink()
    assert contents(image) == before


@pytest.fixture
def confined(image):
    """What a command of the image begins with, to run it as in a container."""
    if reason := unconfinable():
        pytest.skip(reason)
    collect_static_files(image)
    for path in (image, *image.rglob("*")):
        assert path.stat().st_uid == 0
    # The image's .venv, with the packages of ours: other users may not reach its Python.
    programs = image / ".venv/bin"
    programs.mkdir(parents=True)
    (image / ".venv/lib").mkdir()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (programs / "python").symlink_to(f"/mnt/python/bin/{version}")
    (image / ".venv/pyvenv.cfg").write_text("home = /mnt/python/bin\n")
    _, _, script = (Path(sys.prefix) / "bin/celery").read_text().partition("\n")
    (programs / "celery").write_text(f"#!/mnt/notifyweb/.venv/bin/python\n{script}")
    (programs / "celery").chmod(0o755)
    shell = ["unshare", "--mount", "sh", "-c", CONFINE, "confine"]
    return [*shell, str(image), sys.base_prefix, str(Path(sys.prefix) / "lib")]


@pytest.mark.system
def test_the_image_runs_as_in_a_container(image, confined, environment, redis_client):
    """Another user, a read-only root, no capabilities; PostgreSQL and Redis by TCP."""
    unwritable = "/ /mnt/notifyweb /mnt/notifyweb/.venv/lib /var/tmp /run /etc /home"
    probe = f"""
      for each in {unwritable}; do ! touch $each/probe 2>&- || echo "writes $each"; done
      touch /tmp/probe; id -u; sed -n 's/^CapBnd:.//p; s/^NoNewPrivs:.//p' /proc/self/status
    """
    seen = subprocess.run(
        [*confined, "sh", "-c", probe], capture_output=True, text=True, check=True
    )
    assert seen.stdout.split() == ["10001", "0" * 16, "1"], seen.stdout + seen.stderr

    place = settings.EMBEDDED_PATHS
    socket = f"{place.postgres_run}/.s.PGSQL.{POSTGRES_PORT}"
    redis_socket = redis_client.connection_pool.connection_kwargs["path"]
    with tcp_port_to(socket) as postgres, tcp_port_to(redis_socket) as redis:
        name = environment["DATABASE_URL"].partition("@/")[2].partition("?")[0]
        number = redis_client.connection_pool.connection_kwargs.get("db", 0)
        run_all(
            image,
            environment
            | {
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "LD_LIBRARY_PATH": "/mnt/python/lib",
                "DATABASE_URL": f"postgres://{ROLE}@127.0.0.1:{postgres}/{name}",
                "REDIS_URL": f"redis://127.0.0.1:{redis}/{number}",
            },
            confined,
        )


def container_engine() -> str:
    """The command of one that works here; empty if there is none."""
    for name in ("docker", "podman"):
        program = shutil.which(name)
        if program is None:
            continue
        done = subprocess.run([program, "info"], capture_output=True, check=False)
        if done.returncode == 0:
            return program
    return ""


@pytest.mark.skipif(
    "TEST_DEPLOYMENT" not in os.environ,
    reason="make test-deployment: it downloads the base image and every package",
)
def test_a_container_engine_builds_the_image(image):
    engine = container_engine()
    if not engine:
        pytest.skip("neither docker nor podman works here")
    checkout = image.parent / "checkout"
    recipe = ["--file", str(checkout / "deploy/Dockerfile"), "--tag", "notifyweb-test"]
    built = subprocess.run(
        [engine, "build", "--network=host", *recipe, str(checkout)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    probe = f"""
      id -u; grep -rl {SECRET} /srv/notifyweb; test ! -e .git || echo .git
      for each in . /var/tmp /run; do ! touch $each/probe 2>&- || echo "writes $each"; done
      test -f staticfiles/staticfiles.json && python manage.py help prepare >/dev/null && echo runs
    """
    service = yaml.safe_load((BASE / "deploy/compose.yaml").read_text())["services"]
    options = [f"--security-opt={each}" for each in service["web"]["security_opt"]]
    options += [f"--cap-drop={each}" for each in service["web"]["cap_drop"]]
    options += [f"--tmpfs={each}" for each in service["web"]["tmpfs"]]
    # No command starts without them.
    needed = {
        "DATABASE_URL": "postgres://user@postgres.invalid/notifyweb",
        "REDIS_URL": "redis://redis.invalid",
        "SECRET_KEY": "x" * 50,
        "KEYCHAIN_KEYS": "k1:" + base64.b64encode(bytes(32)).decode(),
    }
    options += [f"--env={name}={value}" for name, value in needed.items()]
    if engine.endswith("podman"):  # as docker does by itself
        options.append("--read-only-tmpfs=false")
    seen = subprocess.run(
        [
            *(engine, "run", "--rm", "--network=none", "--read-only", *options),
            *("notifyweb-test", "sh", "-c", probe),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert seen.stdout.split() == ["10001", "runs"], seen.stdout + seen.stderr


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
