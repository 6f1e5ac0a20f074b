"""``rotate_keychain``: everything under the first key, online, resumable, nothing lost."""

from __future__ import annotations

import base64
import json

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEntry
from common import clock
from keychain.columns import sealed_columns
from keychain.keyring import key_id_of
from keychain.models import KeyPairEntry, SecretEntry, SigningKeyEntry, SymKeyEntry
from keychain.rotation import left_over, rotate
from keychain.services import (
    Context,
    Holder,
    SealedColumn,
    check_canary,
    key_pairs,
    open_sealed,
    put_key_pairs,
    put_secret,
    put_signing_key,
    put_sym_keys,
    register_sealed_column,
    seal,
    secret,
    signing_key,
    sym_keys,
    token_digest,
)
from tests.people import ALICE, sign_in
from walletconnect.crypto.keys import KeyPair, SymKey
from walletconnect.crypto.signing import IdentityKey

pytestmark = pytest.mark.django_db

NEW = "new:" + base64.b64encode(b"N" * 32).decode()
KEYS = [SymKey(bytes([number]) * 32) for number in range(1, 31)]
PAIRS = [KeyPair.from_private(bytes([number]) * 32) for number in range(1, 11)]
SIGNING = IdentityKey.from_seed(b"\x09" * 32)
MODELS = (SymKeyEntry, KeyPairEntry, SigningKeyEntry, SecretEntry)


@pytest.fixture
def old_key(settings):
    """A keychain with something of everything, and then a new key in front."""
    put_sym_keys(Holder.WALLET, KEYS)
    put_key_pairs(Holder.CAST, PAIRS)
    put_signing_key(Holder.IDENTITY, SIGNING)
    put_secret(Holder.CAST, "name", b"value")
    (old,) = settings.KEYCHAIN_KEYS
    settings.KEYCHAIN_KEYS = [NEW, old]
    return old


def assert_everything_opens():
    assert len(sym_keys(Holder.WALLET, [key.topic for key in KEYS])) == len(KEYS)
    assert len(key_pairs(Holder.CAST, [pair.topic for pair in PAIRS])) == len(PAIRS)
    assert signing_key(Holder.IDENTITY, SIGNING.did) == SIGNING
    assert secret(Holder.CAST, "name") == b"value"


def test_everything_is_sealed_under_the_first_key_and_the_old_one_can_go(
    old_key, settings
):
    digest = token_digest("token")
    assert sum(progress.resealed for progress in rotate(batch=7)) > len(KEYS)
    assert left_over() == 0
    settings.KEYCHAIN_KEYS = [NEW]
    check_canary()
    assert_everything_opens()
    assert token_digest("token") == digest
    for model in MODELS:
        assert {key_id_of(row.sealed) for row in model.objects.all()} <= {"new"}
        assert set(model.objects.values_list("sealing_key_id", flat=True)) <= {"new"}


def test_interrupted_it_goes_on_where_it_ended(old_key, settings):
    run = rotate(batch=10)
    next(run)
    run.close()
    assert SymKeyEntry.objects.filter(sealing_key_id="new").count() == 10
    # Both keys open meanwhile, and the old one is still needed.
    check_canary()
    assert_everything_opens()
    again = [
        progress.resealed
        for progress in rotate(batch=10)
        if progress.place == "keychain.SymKeyEntry"
    ]
    assert again == [10, 10]
    settings.KEYCHAIN_KEYS = [NEW]
    check_canary()
    assert_everything_opens()


def test_rotating_again_changes_nothing(old_key):
    list(rotate())
    assert list(rotate()) == []


def test_a_row_that_does_not_open_is_counted_and_stays(old_key):
    SymKeyEntry.objects.filter(topic=KEYS[3].topic).update(sealed=b"\x01adamaged")
    refused = sum(progress.refused for progress in rotate(batch=5))
    assert refused == 1
    assert left_over() == 1
    damaged = SymKeyEntry.objects.get(topic=KEYS[3].topic)
    assert bytes(damaged.sealed) == b"\x01adamaged"
    # The old key's canary stays: that key must not be taken out yet.
    assert SecretEntry.objects.filter(name__startswith="canary:").count() == 2


def test_columns_of_other_apps_are_rotated_where_they_are_registered(old_key, settings):
    from syncstore.models import Store, StoreEntry

    account = sign_in(ALICE).user.accounts.get()
    store = Store.objects.create(
        account=account, name="store", topic="0" * 64, created_at=clock.now()
    )
    settings.KEYCHAIN_KEYS = [old_key]
    (column,) = [
        each for each in sealed_columns() if each.model == "syncstore.StoreEntry"
    ]
    for number in range(12):
        entry = StoreEntry(
            store=store, key=f"key {number}", last_id=number, updated_at=clock.now()
        )
        if number:
            entry.sealed_value = seal(column.context(entry), b"value %d" % number)
        entry.save()
    settings.KEYCHAIN_KEYS = [NEW, old_key]
    assert left_over() >= 11
    done = [each for each in rotate(batch=4) if each.place == str(column)]
    assert sum(each.resealed for each in done) == 11
    settings.KEYCHAIN_KEYS = [NEW]
    for entry in StoreEntry.objects.exclude(sealed_value=b""):
        value = b"value %d" % entry.last_id
        assert open_sealed(column.context(entry), entry.sealed_value) == value


def test_registering_a_column_twice_rotates_it_once():
    before = sealed_columns()
    for column in before:
        register_sealed_column(
            SealedColumn(column.model, column.column, column.context_of, column.related)
        )
    assert len(sealed_columns()) == len(before)


def test_a_sealed_value_of_a_column_opens_only_in_its_place():
    place = Context("table", "column", "7", "3")
    sealed = seal(place, b"value")
    assert open_sealed(place, memoryview(sealed)) == b"value"


def test_the_command_answers_in_json(old_key, capsys):
    call_command("rotate_keychain", "--json", "--batch", "8")
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["key"] == "new"
    assert outcome["left"] == outcome["refused"] == 0
    assert outcome["resealed"] > len(KEYS)
    assert AuditEntry.objects.filter(action="keychain.rotated").exists()


def test_the_command_fails_while_the_old_key_is_needed(old_key, capsys):
    SymKeyEntry.objects.filter(topic=KEYS[0].topic).update(sealed=b"\x01adamaged")
    with pytest.raises(CommandError, match="still needed"):
        call_command("rotate_keychain")
    assert "1 do not open" in capsys.readouterr().out


def test_the_command_refuses_a_keyring_that_does_not_fit(settings):
    settings.KEYCHAIN_KEYS = [NEW]
    with pytest.raises(CommandError, match="put it back"):
        call_command("rotate_keychain")
