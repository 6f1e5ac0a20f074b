"""Starts from where people really have their checkouts, and as the users they are.

Most tests run one command that needs the database, Redis and the secrets, which takes
three seconds; a few start the whole system.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from notifyweb.environment import SettingError
from notifyweb.launcher.system import open_sockets
from tests.system import BASE, System, clean_environment, living_under

pytestmark = pytest.mark.system

# A user that every Linux has, other than the one that PostgreSQL runs as for root.
ORDINARY_USER = "daemon"
UID_WITHOUT_ENTRY = 54321
# Variables that are often set for something else on the same machine.
OF_OTHER_PROGRAMS = {
    "http_proxy": "http://192.0.2.1:9",
    "https_proxy": "http://192.0.2.1:9",
    "all_proxy": "socks5://192.0.2.1:9",
    "BROKER_URL": "redis://192.0.2.1:9",
    "RESULT_BACKEND": "redis://192.0.2.1:9",
    "CELERY_BROKER_URL": "redis://192.0.2.1:9",
    "CELERY_WORKER_POOL": "none",
    "CELERY_WORKDIR": "/nonexistent",
    "PGHOSTADDR": "192.0.2.1",
    "PGSERVICE": "missing",
}
NOT_COPIED = shutil.ignore_patterns(".*", "tests", "bench", "docs", "__pycache__")
USERS = [os.getuid()]
if os.getuid() == 0:
    USERS.append(pwd.getpwnam(ORDINARY_USER).pw_uid)
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="changes users")


@pytest.fixture
def folder():
    """A folder that every user can pass, unlike those of ``tmp_path``."""
    made = Path(tempfile.mkdtemp(prefix="nw-"))
    made.chmod(0o755)
    yield made
    subprocess.run(["/bin/chmod", "-R", "u+w", made], check=True)
    shutil.rmtree(made)


def copy_checkout(target):
    shutil.copytree(BASE, target, ignore=NOT_COPIED)
    return target


def show_migrations(checkout, environment=None, **popen):
    """Run a command that starts the services, reads the database and stops them."""
    if environment is None:
        environment = clean_environment()
    done = subprocess.run(
        [sys.executable, "manage.py", "showmigrations", "runlog"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **popen,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0001_initial" in done.stdout


def user_arguments(uid):
    """How to run as another user, who must be able to reach this interpreter."""
    popen = {"user": uid, "group": uid, "extra_groups": []}
    try:
        subprocess.run([sys.executable, "-c", ""], check=True, cwd="/", **popen)
    except PermissionError:
        pytest.skip("other users cannot reach this interpreter")
    return popen


def modes(data):
    """The permissions of what lies directly in a data directory, itself included."""
    return {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in [data, *data.iterdir()]
    }


@pytest.mark.parametrize(
    "name",
    ["with space", "ünïcödé-日本", "d" * 150, 'it\'s "100%" $HOME; a&b #1'],
)
def test_a_checkout_and_its_data_lie_in_a_private_folder_of_any_name(folder, name):
    checkout = copy_checkout(folder / "home" / name)
    (folder / "home").chmod(0o700)
    show_migrations(checkout)
    assert (checkout / ".data" / "postgres" / "PG_VERSION").exists()
    assert stat.S_IMODE((folder / "home").stat().st_mode) == 0o700
    assert living_under(folder) == []


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_no_umask_opens_or_closes_the_data_directory(folder, mask):
    data = folder / "data"
    show_migrations(BASE, clean_environment(NOTIFYWEB_DATA_DIR=str(data)), umask=mask)
    found = modes(data)
    assert all(mode & 0o077 == 0 for mode in found.values()), found
    show_migrations(BASE, clean_environment(NOTIFYWEB_DATA_DIR=str(data)), umask=0o022)


@pytest.mark.parametrize(
    "changes",
    [
        {"TMPDIR": "{folder}/temporary files"},
        {"TMPDIR": "/nonexistent"},
        {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "xx_YY.UTF-8"},
        {"TZ": "Asia/Kathmandu"},
        {"TZ": "No/Such_Place"},
        {"PGHOSTADDR": "192.0.2.1", "PGUSER": "other", "PGOPTIONS": "-c work_mem=x"},
        {"PGSERVICE": "missing", "PGREQUIREAUTH": "scram-sha-256", "PGTZ": "x"},
        {"PGDATA": "/nonexistent", "PGPORT": "1", "PGSSLMODE": "require"},
    ],
    ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items()),
)
def test_the_environment_of_the_shell_does_not_matter(folder, changes):
    (folder / "temporary files").mkdir()
    (folder / "dätä").mkdir()
    environment = clean_environment(
        NOTIFYWEB_DATA_DIR=str(folder / "dätä"),
        **{name: value.format(folder=folder) for name, value in changes.items()},
    )
    show_migrations(BASE, environment)
    assert list((folder / "temporary files").iterdir()) == []


def test_an_empty_environment_suffices(folder):
    show_migrations(BASE, {"NOTIFYWEB_DATA_DIR": str(folder / "data")})


@pytest.mark.parametrize("home", [None, "/nonexistent", "/root"])
@pytest.mark.parametrize("uid", USERS)
def test_a_user_needs_no_home_and_no_writable_checkout(folder, uid, home):
    popen = user_arguments(uid) if uid != os.getuid() else {}
    checkout = copy_checkout(folder / "checkout")
    subprocess.run(["/bin/chmod", "-R", "a-w", checkout], check=True)
    data = folder / "of that user"
    data.mkdir(mode=0o700)
    os.chown(data, uid, -1)
    environment = clean_environment(NOTIFYWEB_DATA_DIR=str(data / "data"))
    environment.pop("HOME", None)
    if home is not None:
        environment["HOME"] = home
    show_migrations(checkout, environment, **popen)
    if uid:
        assert {path.stat().st_uid for path in data.rglob("*")} == {uid}


@needs_root
def test_a_uid_without_an_entry_is_refused_in_one_sentence(folder):
    """PostgreSQL's initdb needs the name of its user."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    os.chown(data, UID_WITHOUT_ENTRY, -1)
    with pytest.raises(AssertionError, match="user ID 54321: user does not exist"):
        show_migrations(
            copy_checkout(folder / "checkout"),
            clean_environment(NOTIFYWEB_DATA_DIR=str(data)),
            **user_arguments(UID_WITHOUT_ENTRY),
        )


@needs_root
def test_the_whole_system_starts_as_a_user_without_a_home(folder):
    uid = pwd.getpwnam(ORDINARY_USER).pw_uid
    popen = user_arguments(uid)
    checkout = copy_checkout(folder / ("sehr größer Ordner " + "d" * 120))
    subprocess.run(["/bin/chmod", "-R", "a-w", checkout], check=True)
    system = System(from_nothing=True, TMPDIR="/nonexistent", HOME="/nonexistent")
    os.chown(system.data_dir, uid, uid)
    try:
        system.launch(cwd=checkout, umask=0, **popen)
        system.wait_until_ready()
        assert system.get("/")[0] == 200
        assert system.stop() == 0
        # Collected static files may be readable: other users cannot enter the folder.
        found = modes(system.data_dir / "data")
        for name in ("data", "postgres", "redis", "secret_key", "keychain_keys"):
            assert found[name] & 0o077 == 0, name
    finally:
        system.remove()


def test_the_whole_system_starts_in_a_private_folder(folder):
    checkout = copy_checkout(folder / "home" / ("größer Ordner " + "d" * 120))
    (folder / "home").chmod(0o700)
    system = System(from_nothing=True, TMPDIR=str(folder), **OF_OTHER_PROGRAMS)
    system.environment["NOTIFYWEB_DATA_DIR"] = str(checkout / ".data")
    try:
        system.launch(cwd=checkout, umask=0o077)
        system.wait_until_ready()
        assert system.get("/")[0] == 200
        assert system.stop() == 0
    finally:
        system.remove()


WITHOUT_IPV6 = """
ip link set lo up && ip -6 address flush dev lo && exec "$0" -c '
from tests.system import System
system = System(from_nothing=True)
try:
    assert system.start().get("/")[0] == 200
    assert system.stop() == 0
finally:
    system.remove()
'
"""


@needs_root
def test_the_whole_system_starts_without_ipv6():
    """In a network namespace whose loopback interface has an IPv4 address only."""
    namespace = ["unshare", "--net"]
    try:
        subprocess.run([*namespace, "ip", "link"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("network namespaces are not available here")
    subprocess.run(
        [*namespace, "sh", "-c", WITHOUT_IPV6, sys.executable], cwd=BASE, check=True
    )


def test_an_ipv6_bind_is_refused_where_the_kernel_has_no_ipv6(settings, monkeypatch):
    def without_ipv6(family, *arguments):
        assert family == socket.AF_INET6
        raise OSError(97, "Address family not supported by protocol")

    settings.BIND = "::1"
    monkeypatch.setattr(socket, "socket", without_ipv6)
    with pytest.raises(SettingError, match=r"on ::1 cannot be used .*not supported"):
        open_sockets()


FAKE_PYTHON = """#!/bin/sh
if [ "$1" = -m ]; then mkdir -p .venv && echo {name} > .venv/made-by; exit; fi
exec {real} -c 'import sys; sys.version_info = ({version}, 0, "final", 0)
exec(sys.argv[1])' "$2"
"""


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"python3": "3, 14", "python3.12": "3, 12"}, "python3.12"),
        ({"python3": "3, 11", "python3.13": "3, 13"}, "python3"),
        (
            {"python3": "3, 9", "python3.13": "3, 13", "python3.11": "3, 11"},
            "python3.13",
        ),
        ({"python3": "3, 14"}, "python3"),
        ({"python3": "3, 10"}, None),
    ],
)
def test_make_takes_a_python_for_which_all_packages_have_wheels(folder, found, wanted):
    shutil.copy(BASE / "Makefile", folder)
    programs = folder / "bin"
    programs.mkdir()
    for name, version in found.items():
        text = FAKE_PYTHON.format(name=name, real=sys.executable, version=version)
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in ("sh", "mkdir", "touch"):
        (programs / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [shutil.which("make"), ".venv/.made"],
        cwd=folder,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )
    if wanted is None:
        assert done.returncode == 2
        assert "needs Python 3.11 or later" in done.stderr
    else:
        assert (folder / ".venv" / "made-by").read_text() == f"{wanted}\n", done.stderr
