"""Signatures in every form that people bring, and in the one that we keep."""

from __future__ import annotations

import pytest

from identity.services import MalformedSignature, canonical_signature
from tests.people import ALICE

MESSAGE = "a message"
SIGNED = ALICE.sign(MESSAGE)
R_AND_S, V = SIGNED[2:130], int(SIGNED[130:], 16)


def compact():
    top = int(R_AND_S[64:66], 16) | (0x80 if V == 28 else 0)
    return "0x" + R_AND_S[:64] + f"{top:02x}" + R_AND_S[66:]


@pytest.mark.parametrize(
    "text",
    [
        SIGNED,
        SIGNED[2:],
        SIGNED.upper().replace("0X", "0x"),
        SIGNED.replace("0x", "0X"),
        f"  {SIGNED}\n",
        f"0x{R_AND_S}{V - 27:02x}",
        compact(),
        compact()[2:],
        f'{{"address": "{ALICE.address}", "msg": "{MESSAGE}", "sig": "{SIGNED}"}}',
        f'{{"signature": "{SIGNED[2:]}"}}',
    ],
)
def test_every_form_has_one_canonical_text(text):
    assert canonical_signature(text) == SIGNED


def test_compact_signatures_of_either_parity_are_read():
    forms = set()
    for number in range(20):
        signed = ALICE.sign(f"message {number}")
        rs, v = signed[2:130], int(signed[130:], 16)
        top = int(rs[64:66], 16) | (0x80 if v == 28 else 0)
        text = rs[:64] + f"{top:02x}" + rs[66:]
        assert canonical_signature(text) == signed
        forms.add(v)
    assert forms == {27, 28}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        SIGNED[:-1],
        SIGNED + "0",
        SIGNED + "00",
        "0x" + "zz" * 65,
        f"0x{R_AND_S}1d",
        f"0x{R_AND_S}02",
        f"0x{R_AND_S}25",
        "{",
        "{}",
        '{"sig": 7}',
        '{"sig": "0x"}',
        "[" * 5000,
        SIGNED * 100,
    ],
)
def test_everything_else_is_no_signature(text):
    with pytest.raises(MalformedSignature):
        canonical_signature(text)
