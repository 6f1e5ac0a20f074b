"""Sealing under ``KEYCHAIN_KEYS``: what opens, and everything that must not."""

from __future__ import annotations

import base64

import pytest

from keychain.keyring import (
    Context,
    DecryptionFailed,
    Keyring,
    KeyringError,
    key_id_of,
)

KEY_A = "a:" + base64.b64encode(b"A" * 32).decode()
KEY_B = "b:" + base64.b64encode(b"B" * 32).decode()
OTHER_A = "a:" + base64.b64encode(b"C" * 32).decode()

PLACE = Context("syncstore_storeentry", "sealed_value", "17", "4")
SECRET = b"a symmetric key of thirty-two by"


def test_a_sealed_value_opens_in_its_place():
    ring = Keyring.parse([KEY_A])
    assert ring.open(PLACE, ring.seal(PLACE, SECRET)) == SECRET


def test_the_key_id_is_in_front():
    sealed = Keyring.parse([KEY_A]).seal(PLACE, SECRET)
    assert sealed[:2] == b"\x01a"
    assert key_id_of(sealed) == "a"


def test_sealing_twice_gives_different_bytes():
    ring = Keyring.parse([KEY_A])
    assert ring.seal(PLACE, SECRET) != ring.seal(PLACE, SECRET)


@pytest.mark.parametrize("part", Context._fields)
def test_it_does_not_open_in_another_place(part):
    ring = Keyring.parse([KEY_A])
    sealed = ring.seal(PLACE, SECRET)
    with pytest.raises(DecryptionFailed):
        ring.open(PLACE._replace(**{part: "another"}), sealed)


def test_parts_of_a_place_do_not_run_together():
    ring = Keyring.parse([KEY_A])
    sealed = ring.seal(Context("ab", "c", "d"), SECRET)
    with pytest.raises(DecryptionFailed):
        ring.open(Context("a", "bc", "d"), sealed)


def test_no_byte_of_it_can_be_changed():
    ring = Keyring.parse([KEY_A])
    sealed = ring.seal(PLACE, SECRET)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(DecryptionFailed):
            ring.open(PLACE, bytes(changed))


def test_no_end_of_it_can_be_cut_off():
    ring = Keyring.parse([KEY_A])
    sealed = ring.seal(PLACE, SECRET)
    for length in range(len(sealed)):
        with pytest.raises(DecryptionFailed):
            ring.open(PLACE, sealed[:length])


def test_the_first_key_seals_and_all_open():
    old, both = Keyring.parse([KEY_A]), Keyring.parse([KEY_B, KEY_A])
    sealed_before = old.seal(PLACE, SECRET)
    assert both.open(PLACE, sealed_before) == SECRET
    assert key_id_of(both.seal(PLACE, SECRET)) == "b"


def test_without_its_key_it_does_not_open_and_the_error_names_the_key():
    sealed = Keyring.parse([KEY_A]).seal(PLACE, SECRET)
    with pytest.raises(DecryptionFailed, match="key a is not in KEYCHAIN_KEYS"):
        Keyring.parse([KEY_B]).open(PLACE, sealed)


def test_another_key_of_the_same_id_does_not_open_it():
    sealed = Keyring.parse([KEY_A]).seal(PLACE, SECRET)
    with pytest.raises(DecryptionFailed):
        Keyring.parse([OTHER_A]).open(PLACE, sealed)


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["no id at all"],
        [":" + KEY_A.partition(":")[2]],
        ["a b:" + KEY_A.partition(":")[2]],
        ["a:" + base64.b64encode(b"A" * 31).decode()],
        ["a:" + base64.b64encode(b"A" * 33).decode()],
        ["a:not base64!"],
        [KEY_A, OTHER_A],
    ],
)
def test_a_wrong_setting_is_refused_without_showing_the_key(texts):
    with pytest.raises(KeyringError) as refusal:
        Keyring.parse(texts)
    assert "QUFB" not in str(refusal.value)


def test_reprs_show_ids_only():
    ring = Keyring.parse([KEY_A, KEY_B])
    assert "id='a'" in repr(ring)
    assert "QUFB" not in repr(ring)
    assert "AAAA" not in repr(ring)
