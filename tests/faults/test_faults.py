"""A random dozen of the faults and a small storm in every run; ``make faults`` has all.

``NOTIFYWEB_FAULTS_SEED`` repeats the choice of an earlier run, which the report names.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from tests.faults.steps import AFTER, BEFORE, STEP_FAULTS
from tests.system import BASE, clean_environment

SAMPLE = 12
# Notifications, subscribers, seconds.
STORM = "300,40,30"
# Who takes part in a step, by docs/reliability.md.
PAIRS = {
    1: {"web", "worker"},
    2: {"worker"},
    3: {"worker", "postgres"},
    4: {"worker"},
    5: {"worker", "relay", "redis", "gateway"},
    6: {"gateway", "relay"},
    7: {"gateway", "relay"},
    8: {"relay", "gateway", "worker"},
    9: {"worker"},
    10: {"worker", "beat"},
    11: {"worker", "postgres"},
    12: {"worker"},
    13: {"worker", "relay"},
    14: {"gateway", "web"},
    15: {"gateway", "postgres", "worker"},
    16: {"gateway", "postgres", "worker"},
    17: {"gateway", "relay"},
    18: {"worker", "relay"},
    19: {"gateway"},
    20: {"gateway"},
}
WORKERS = {"worker child": "worker", "outbound": "worker"}


@pytest.mark.parametrize("moment", [BEFORE, AFTER])
@pytest.mark.parametrize("step", PAIRS)
def test_every_process_of_a_step_can_be_killed(step, moment):
    victims = {
        WORKERS.get(fault.victim, fault.victim)
        for fault in STEP_FAULTS
        if step in fault.steps and fault.moment == moment
    }
    assert victims >= PAIRS[step]


def test_every_place_is_a_failpoint():
    sources = "".join(
        path.read_text()
        for path in BASE.glob("*/**/*.py")
        if path.relative_to(BASE).parts[0] not in {"tests", ".venv"}
    )
    for fault in STEP_FAULTS:
        assert f'"{fault.place.partition(":")[0]}"' in sources, fault


@pytest.mark.system
def test_after_a_dozen_faults_and_a_storm_nothing_is_lost_or_doubled(
    tmp_path, record_property
):
    seed = os.environ.get("NOTIFYWEB_FAULTS_SEED") or str(random.randrange(10**6))  # noqa: S311
    report = tmp_path / "faults.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.faults", "--sample", str(SAMPLE)),
            *("--seed", seed, "--minutes", "10", "--json", str(report)),
            *("--storm", STORM),
        ],
        cwd=BASE,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    record_property("summary", done.stdout)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr[-4000:]}"
    found = json.loads(report.read_text())
    assert len(found["faults"]) == SAMPLE + 1
    assert found["seed"] == int(seed)
