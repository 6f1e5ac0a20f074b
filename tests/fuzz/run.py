"""``make fuzz``: every target for its share of the time, then the stateful tests.

    python -m tests.fuzz.run --seconds 240 [--only TARGET ...]

Each target runs in a process of its own under Atheris (libFuzzer), which follows the coverage
of our modules, or, where Atheris has no wheel, with random mutations. A crash is written to
``.fuzz/findings/<target>-…``; copy it to ``tests/fuzz/cases/<target>/`` with the fix.
What reached new code is kept in ``.fuzz/corpus`` for the next run.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BASE = Path(__file__).resolve().parents[2]
WORK = BASE / ".fuzz"
CASES = Path(__file__).parent / "cases"
# A parser that takes this long for one input, or this much memory, is a finding, too.
INPUT_TIMEOUT_S = 10
MEMORY_MB = 1500
MAX_INPUT = 16_384
# The part of the time for REST and stateful tests.
STATEFUL_SHARE = 0.4
STATEFUL = (
    "tests/fuzz/test_store_machine.py",
    "tests/fuzz/test_subscription_machine.py",
    "tests/castserver/test_api_description.py",
)


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def fuzz_target(name: str, seconds: int) -> None:
    """Fuzz one target in this process until the time is over; does not return."""
    import atheris

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    with atheris.instrument_imports(
        include=["walletconnect", "common", "relayserver", "dashboard"]
    ):
        import django

        django.setup()
        from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    corpus = WORK / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    kept = [each.read_bytes() for each in CASES.glob(f"{name}/*")]
    for seed in (*target.seeds, *kept):
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    findings = WORK / "findings"
    findings.mkdir(exist_ok=True)
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-timeout={INPUT_TIMEOUT_S}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-max_len={MAX_INPUT}",
            f"-artifact_prefix={findings}/{name}-",
            "-print_final_stats=1",
            "-verbosity=0",
            str(corpus),
        ],
        target,
    )
    atheris.Fuzz()


def run_target(name: str, seconds: int) -> tuple[bool, str]:
    """Whether there was no finding, and the end of the output."""
    if has_atheris():
        command = [sys.executable, "-m", "tests.fuzz.run", "--target", name]
        command += ["--seconds", str(seconds)]
        environment = dict(os.environ)
    else:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [f"tests/fuzz/test_targets.py::test_mutated_seeds[{name}]"]
        from tests.fuzz.targets import TARGETS

        environment = os.environ | {"FUZZ_SECONDS": str(seconds * len(TARGETS))}
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        done = subprocess.run(
            command, cwd=BASE, env=environment, stdout=log, stderr=log, check=False
        )
        log.seek(0)
        text = log.read()
    return done.returncode == 0, text


def inputs_tried(text: str) -> str:
    for line in text.splitlines():
        if line.startswith("stat::number_of_executed_units:"):
            return f"{int(line.split()[-1]):,} inputs"
    return "mutations"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--target", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.target:
        fuzz_target(given.target, given.seconds)
        return 0
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from tests.fuzz.targets import TARGETS

    names = given.only or list(TARGETS)
    stateful = 0 if given.only else int(given.seconds * STATEFUL_SHARE)
    each = max(2, (given.seconds - stateful) // len(names))
    if not has_atheris():
        print("Atheris is not installed: mutating seeds without coverage.", flush=True)
    failed = []
    for name in names:
        is_clean, text = run_target(name, each)
        print(
            f"{name:16} {inputs_tried(text):>18}  {'ok' if is_clean else 'FINDING'}",
            flush=True,
        )
        if not is_clean:
            failed.append(name)
            print(text[-3000:], flush=True)
    if stateful:
        started = time.monotonic()
        # Hypothesis counts examples, not seconds: roughly as many as fit.
        environment = os.environ | {"FUZZ_EXAMPLES": str(max(10, stateful // 4))}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *STATEFUL],
            cwd=BASE,
            env=environment,
            check=False,
        )
        took = time.monotonic() - started
        print(f"REST and stateful tests: {took:.0f} s", flush=True)
        if done.returncode:
            failed.append("stateful tests")
    print(f"findings: {', '.join(failed)}" if failed else "no findings", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
