"""``make run``: every process starts, is restarted after a kill and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from notifyweb.launcher.watchdog import UNHEALTHY_S
from tests.system import BASE, System, clean_environment, free_port, living_under

pytestmark = pytest.mark.system
PROCESSES = (
    "postgres",
    "redis",
    "web",
    "relay",
    "gateway",
    "worker",
    "outbound",
    "beat",
)
TITLES = {
    "web": "manage.py daphne",
    "relay": "manage.py relay",
    "gateway": "manage.py gateway",
    "worker": "celery",
    "outbound": "celery",
    "beat": "beat",
}


@pytest.fixture
def own_system():
    """A system for one test, to be stopped or broken."""
    running = System()
    yield running
    running.remove()


@pytest.fixture
def new_system():
    """A system that has never been started."""
    running = System(from_nothing=True)
    yield running
    running.remove()


def wait_for(condition, timeout=20.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def run_command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_component_is_ready_and_one_url_is_printed(system):
    status, components = system.readiness()
    assert status == 200
    assert set(components) >= {"postgres", "redis", "relay", "gateway", "worker"}
    assert all(state["ok"] for state in components.values())
    wait_for(lambda: "ready after" in system.output())
    assert system.output().count(system.base_url) == 1


def test_every_process_is_listed_by_name(system):
    assert set(system.pids()) == {"launcher", "preloader", *PROCESSES}
    for name, title in TITLES.items():
        command = (Path("/proc") / str(system.pid(name)) / "cmdline").read_text()
        assert title in command


@pytest.mark.parametrize("name", PROCESSES)
def test_a_killed_process_comes_back(system, name):
    old_pid = system.kill(name)
    new_pid = system.wait_until_back(name, old_pid)
    assert new_pid != old_pid


def test_a_killed_preloader_comes_back_with_all_its_children(system):
    old = system.pids()
    system.kill("preloader")
    for name in ("web", "relay", "gateway", "worker", "outbound", "beat", "preloader"):
        system.wait_until_back(name, old[name])


def test_workers_that_lost_redis_start_again(system):
    old = system.pids()
    system.kill("redis")
    for name in ("worker", "outbound"):
        system.wait_until_back(name, old[name])
    logged = system.output()
    assert logged.count("lost Redis, so the worker starts again") >= 2


def test_an_unavailable_database_is_503_with_retry_after(system):
    old_pid = system.kill("postgres", signal.SIGSTOP)
    os.kill(old_pid, signal.SIGKILL)
    status, components = system.readiness()
    assert status in {200, 503}
    # PostgreSQL may be back before its clients have reconnected.
    if status == 503:
        assert not all(each["ok"] for each in components.values())
    system.wait_until_back("postgres", old_pid)


def test_sigterm_stops_everything_within_twenty_seconds(own_system):
    own_system.start()
    started = time.monotonic()
    assert own_system.stop() == 0
    assert time.monotonic() - started < 20
    assert living_under(own_system.data_dir) == []


def test_a_stop_during_the_first_start_leaves_nothing(new_system):
    new_system.launch()
    wait_for(lambda: "postgres" in new_system.pids())
    assert new_system.stop() == 0
    assert living_under(new_system.data_dir) == []


def test_a_killed_launcher_leaves_nothing_and_the_next_start_works(own_system):
    own_system.start()
    os.kill(own_system.pid("launcher"), signal.SIGKILL)
    own_system.wait_for_end()
    wait_for(lambda: living_under(own_system.data_dir) == [])
    own_system.start()
    assert own_system.stop() == 0


def test_a_second_system_on_the_same_data_is_refused(system):
    refused = system.manage("run", check=False)
    assert refused.returncode == 2
    assert "already running" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_port_in_use_is_reported_in_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = run_command(
            "run",
            NOTIFYWEB_DATA_DIR=str(tmp_path),
            NOTIFYWEB_PORT=str(port),
            NOTIFYWEB_RELAY_PORT=str(free_port()),
        )
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"Port {port} on 127.0.0.1 cannot be used")
    assert len(refused.stderr.splitlines()) == 1


def test_equal_ports_are_reported_in_one_line(tmp_path):
    port = str(free_port())
    refused = run_command(
        "run",
        NOTIFYWEB_DATA_DIR=str(tmp_path),
        NOTIFYWEB_PORT=port,
        NOTIFYWEB_RELAY_PORT=port,
    )
    assert refused.returncode == 2
    assert "different numbers" in refused.stderr


def test_commands_run_against_the_running_system(system):
    shown = system.manage("showmigrations", "--plan")
    assert "accounts.0001_initial" in shown.stdout
    assert system.readiness()[0] == 200


def test_a_closed_output_pipe_ends_a_command_without_a_traceback(system):
    command = subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--json"],
        cwd=BASE,
        env=system.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with command:
        assert command.stdout.readline().startswith(b'{"step"')
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 141


def test_the_list_of_processes_is_private_to_its_owner(system):
    folder = system.data_dir / "data"
    assert folder.stat().st_mode & 0o077 == 0
    for name in ("secret_key", "keychain_keys"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert json.loads((folder / "processes.json").read_text())["web"] > 0


def processes_of(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *map(int, children.split())]


def test_a_stuck_web_process_is_restarted_and_a_stalled_database_is_not_its_fault(
    own_system,
):
    own_system.start()
    wait_for(lambda: "ready after" in own_system.output())
    web = own_system.pid("web")
    stalled = processes_of(own_system.pid("postgres"))
    for pid in stalled:
        os.kill(pid, signal.SIGSTOP)
    try:
        # Longer than the watchdog would wait.
        until = time.monotonic() + UNHEALTHY_S + 15
        while time.monotonic() < until:
            assert own_system.get("/healthz")[0] == 200
            time.sleep(1)
    finally:
        for pid in stalled:
            os.kill(pid, signal.SIGCONT)
    own_system.wait_until_ready(timeout=30)
    assert own_system.pid("web") == web

    own_system.kill("web", signal.SIGSTOP)
    own_system.wait_until_back("web", web, timeout=UNHEALTHY_S + 60)
    assert "does not answer for 60 s; killed" in own_system.output()
