"""Failpoints: armed by name, they end the process where it stands; else they rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.messaging.conftest import wait_for
from tests.system import BASE

pytestmark = pytest.mark.system

SCRIPT = """
from common.failpoints import failpoint
failpoint("subscribe.05.after_commit")
print("went on")
"""


def run(armed):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=BASE,
        env={**os.environ, "NOTIFYWEB_FAILPOINTS": armed},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_armed_failpoint_kills():
    done = run("other, subscribe.05.after_commit")
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == ""


def test_an_unarmed_failpoint_does_nothing():
    assert run("subscribe.05").stdout == "went on\n"
    assert run("").stdout == "went on\n"


FOLDER_SCRIPT = """
import sys

import pytest
from common.failpoints import failpoint
for _ in range(2):
    try:
        failpoint("relay.tick", [4000, 4001])
    except OSError as error:
        print(error.strerror)
print("went on")
"""


def start_with(folder):
    return subprocess.Popen(
        [sys.executable, "-c", FOLDER_SCRIPT],
        cwd=BASE,
        env={**os.environ, "NOTIFYWEB_FAILPOINT_FOLDER": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", ["relay.tick", "relay.tick:4001"])
def test_a_file_kills_one_process_once(tmp_path, name):
    (tmp_path / name).write_text("kill")
    with start_with(tmp_path) as first:
        assert first.wait(30) == -signal.SIGKILL
    assert (tmp_path / f"{name}.reached").exists()
    with start_with(tmp_path) as second:
        assert second.wait(30) == 0


def test_a_file_with_another_detail_does_nothing(tmp_path):
    (tmp_path / "relay.tick:4002").write_text("kill")
    with start_with(tmp_path) as process:
        assert process.wait(30) == 0
    assert (tmp_path / "relay.tick:4002").exists()


def test_a_full_disk_is_an_error_once(tmp_path):
    (tmp_path / "relay.tick").write_text("full")
    with start_with(tmp_path) as process:
        output, _ = process.communicate(timeout=30)
    assert output == "No space left on device\nwent on\n"


def test_a_held_process_goes_on_when_it_is_released(tmp_path):
    (tmp_path / "relay.tick").write_text("hold")
    reached = tmp_path / "relay.tick.reached"
    with start_with(tmp_path) as process:
        wait_for(reached.exists, seconds=30, what="the hold")
        assert process.poll() is None
        reached.unlink()
        assert process.wait(30) == 0
