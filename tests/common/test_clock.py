"""One clock, and ids that only grow."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

from common import clock
from tests.system import BASE

AT = datetime(2023, 8, 17, 12, 0, tzinfo=UTC)


def test_a_frozen_clock_stops_and_continues_afterwards():
    with clock.frozen(AT):
        assert clock.now() == AT
        assert clock.now_ms() == 1_692_273_600_000
        assert clock.now_s() == 1_692_273_600
        with clock.frozen(AT + timedelta(hours=1)):
            assert clock.now() == AT + timedelta(hours=1)
        assert clock.now() == AT
    assert clock.now() - AT > timedelta(days=365)


def test_now_is_timezone_aware():
    assert clock.now().tzinfo is UTC


def test_payload_ids_grow_also_when_the_clock_jumps_back():
    with clock.frozen(clock.now() + timedelta(minutes=1)):
        later = clock.payload_id()
    assert clock.payload_id() > later


def test_payload_ids_are_safe_integers_and_never_twice_the_same():
    found = []

    def take():
        found.extend([clock.payload_id() for _ in range(500)])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 2000
    assert max(found) < 2**53


def test_a_test_of_the_whole_system_can_step_the_clock(tmp_path):
    script = "from common import clock; print(clock.now_ms(), clock.now().timestamp())"
    (tmp_path / "clock").write_text("-3600")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=BASE,
        env={**os.environ, "NOTIFYWEB_FAILPOINT_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    milliseconds, seconds = map(float, done.stdout.split())
    assert abs(milliseconds / 1000 - seconds) < 10
    assert 3590 < time.time() - seconds < 3700
