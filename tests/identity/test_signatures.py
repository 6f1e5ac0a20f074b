"""Signatures in every form that people bring, and in the one that we keep."""

from __future__ import annotations

import pytest

from identity.services import (
    MalformedSignature,
    added_white_space,
    canonical_signature,
)
from tests.people import ALICE, BOB

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
        f'"{SIGNED}"',
        f"'{SIGNED}'\r\n",
        f"`{SIGNED}`",
        f"\N{LEFT DOUBLE QUOTATION MARK}{SIGNED}\N{RIGHT DOUBLE QUOTATION MARK}",
        f"\ufeff{SIGNED}\u200b",
        f"{SIGNED[:80]}\n{SIGNED[80:]}",
        f"{SIGNED[:66]} \t{SIGNED[66:]}\n\n",
        f"0x {SIGNED[2:66]} {SIGNED[66:130]} {SIGNED[130:]}",
        f'\n{{"address": "{ALICE.address}", "msg": "{MESSAGE}\\n", "sig": "{SIGNED}\\n"}}\n',
        f'{{"msg": "a mess\nage", "sig": "{SIGNED[:70]}\n{SIGNED[70:]}", "version": "2"}}',
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


# --- what was signed --------------------------------------------------------------------

TEXT = "one line\n\nanother line"


@pytest.mark.parametrize(
    ("signed", "description"),
    [
        (TEXT + "\n", "a line break at the end"),
        (TEXT + "\r\n", "a line break at the end"),
        (TEXT + "\n\n", "line breaks at the end"),
        (TEXT + " ", "a space at the end"),
        ("\n" + TEXT, "a line break at the beginning"),
        (" " + TEXT + "\n", "a space at the beginning and a line break at the end"),
        (TEXT.replace("\n", "\r\n"), "Windows line ends"),
        (
            TEXT.replace("\n", "\r\n") + "\r\n",
            "Windows line ends and a line break at the end",
        ),
        (TEXT, ""),
        ("another text", ""),
    ],
)
def test_added_white_space_is_detected(signed, description):
    added = added_white_space(TEXT, ALICE.address.lower(), ALICE.sign(signed))
    assert " and ".join(added) == description


def test_a_signature_of_another_account_is_not_explained_by_white_space():
    assert added_white_space(TEXT, ALICE.address, BOB.sign(TEXT + "\n")) == ()
    assert added_white_space(TEXT, ALICE.address, "0x" + "0" * 128 + "1b") == ()
