"""The share of fuzzing that runs with every test: seeds, findings of before, mutations.

``make fuzz`` (``tests/fuzz/run.py``) searches for minutes, guided by coverage. What it finds
becomes a file in ``cases/<target>/``.
"""

from __future__ import annotations

import inspect
import os
import random
import re
import sys
import time
from pathlib import Path
from types import FunctionType

import pytest

import walletconnect
from tests.fuzz.targets import TARGETS

CASES = Path(__file__).parent / "cases"
CORE = Path(walletconnect.__file__).parent
# Seconds for all targets together.
SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))
MAX_INPUT = 20_000
PIECES = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b",",
        b"\\",
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
    ),
    *(b"null", b"true", b"1e999", b"-1", b"-0", b"0.5", b"9" * 30, b"9" * 5000),
    *(b"\\ud800", b"\\u0000", b"\\u2028", b"NaN", b"Infinity", b"\n", b"\r\n", b"  "),
    *("\u0661\u200b\u202e\U0001f600\u0130\u212a".encode(), b"%00", b"%2F", b"..", b"@"),
    *(b"did:key:z", b"did:web:", b"did:pkh:eip155:1:", b"xn--", b"https://", b"eyJ"),
    *(b"[" * 33, b"[" * 5000, b'{"a":' * 40, b"=" * 9, b"0x", b"ab" * 32),
]
PARSER = re.compile(
    r"(parse|decode|read|from|of_did|open|split|verify|normalize|recover|check_(sync|public)|"
    r"settle|answer|receive|claimed|adopt|replay|recap|account_of|public_key_of|is_id_of|"
    r"document_id|key_agreement|authentication_of|listed_app|with_chain|locate_dapp)(_|$)"
)
# Trusted input only: our own settings, secrets and constants.
TRUSTED = {
    "HdKey.from_seed",
    "IdentityKey.from_seed",
    "KeyPair.from_private",
    # They write an answer to what another parser has read.
    "read_state.answer_get_notifications",
    "read_state.answer_mark_read",
}


def mutated(data: bytes, others: tuple[bytes, ...], order: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(order.choice((1, 1, 2, 4, 8))):
        at = order.randrange(len(found) + 1)
        end = min(len(found), at + order.choice((0, 1, 1, 4, 16)))
        piece = order.choice(PIECES)
        kind = order.randrange(5)
        if kind == 0 and found:
            found[at % len(found)] ^= 1 << order.randrange(8)
        elif kind == 1:
            del found[at:end]
        elif kind == 2:
            found[at:end] = piece
        elif kind == 3 and others:
            other = order.choice(others)
            cut = order.randrange(len(other) + 1)
            found[at:] = other[cut:]
        else:
            found[at:at] = found[at:end] * order.choice((1, 2, 50))
    return bytes(found[:MAX_INPUT])


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_earlier_findings(name):
    target = TARGETS[name]
    accepted = [target(seed) for seed in target.seeds]
    assert any(accepted), (
        "no seed is valid, so that fuzzing would not get past the first check"
    )
    for case in sorted(CASES.glob(f"{name}/*")):
        target(case.read_bytes())


def test_every_case_belongs_to_a_target():
    assert {each.name for each in CASES.glob("*") if each.is_dir()} <= set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_seeds(name):
    """As many as fit into the time; the order of mutations is the same in every run."""
    target, order = TARGETS[name], random.Random(name)  # noqa: S311
    end = time.monotonic() + SECONDS / len(TARGETS)
    tried = 0
    while time.monotonic() < end or tried < 50:
        data = mutated(order.choice(target.seeds), target.seeds, order)
        tried += 1
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"{name}: {data!r}") from error


def parsers() -> dict[object, str]:
    """Code of every public parser of the core, by its observed name."""
    found = {}
    for path in sorted(CORE.rglob("*.py")):
        name = ".".join(path.relative_to(CORE.parent).with_suffix("").parts)
        module = sys.modules.get(name)
        if module is None or path.name == "__init__.py":
            continue
        for owner in (module, *vars(module).values()):
            if owner is not module and not (
                inspect.isclass(owner) and owner.__module__ == name
            ):
                continue
            for each, value in vars(owner).items():
                function = getattr(value, "__func__", value)
                if (
                    isinstance(function, FunctionType)
                    and function.__module__ == name
                    and PARSER.match(each)
                ):
                    short = name.rpartition(".")[2]
                    prefix = short if owner is module else owner.__name__
                    found[function.__code__] = f"{prefix}.{each}"
    return found


def test_seeds_reach_every_parser_of_the_core():
    """A new parser needs a target; what counts is that it ran, not that it is listed."""
    wanted = parsers()
    assert len(wanted) > 70
    reached = set()

    def note(frame, event, _):
        if event == "call":
            reached.add(frame.f_code)

    sys.setprofile(note)
    try:
        for target in TARGETS.values():
            for seed in target.seeds:
                target(seed)
    finally:
        sys.setprofile(None)
    missing = {name for code, name in wanted.items() if code not in reached}
    assert missing - TRUSTED == set()
