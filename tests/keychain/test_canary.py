"""A process whose keys do not fit the database gets an error and writes nothing."""

from __future__ import annotations

import base64

import pytest

from keychain.apps import seal_canary
from keychain.keyring import KeyringError
from keychain.models import SecretEntry
from keychain.services import (
    Holder,
    check_canary,
    ensure_canary,
    put_sym_keys,
    sym_keys,
)
from tests.snapshots import rows_of
from walletconnect.crypto.keys import SymKey

pytestmark = pytest.mark.django_db

NEW = "new:" + base64.b64encode(b"N" * 32).decode()
KEY = SymKey(b"\x07" * 32)


def changed(key):
    return key.partition(":")[0] + ":" + base64.b64encode(b"X" * 32).decode()


def test_a_migrated_database_has_a_canary_that_opens():
    check_canary()


def test_a_missing_key_is_named_and_nothing_is_written(settings):
    old = settings.KEYCHAIN_KEYS[0].partition(":")[0]
    settings.KEYCHAIN_KEYS = [NEW]
    before = rows_of("keychain", without=())
    for start in (check_canary, ensure_canary, seal_canary):
        with pytest.raises(KeyringError) as refusal:
            start()
    assert old in str(refusal.value)
    assert "put it back" in str(refusal.value)
    assert rows_of("keychain", without=()) == before


def test_a_changed_key_of_the_same_id_is_noticed(settings):
    settings.KEYCHAIN_KEYS = [changed(settings.KEYCHAIN_KEYS[0])]
    with pytest.raises(KeyringError, match="holds changed"):
        check_canary()


@pytest.mark.parametrize("keys", [[], ["nonsense"]])
def test_keys_that_are_none_are_refused(settings, keys):
    settings.KEYCHAIN_KEYS = keys
    with pytest.raises(KeyringError):
        check_canary()


def test_a_new_first_key_gets_a_canary_of_its_own(settings):
    settings.KEYCHAIN_KEYS = [NEW, *settings.KEYCHAIN_KEYS]
    with pytest.raises(KeyringError, match="run manage"):
        check_canary()
    ensure_canary()
    check_canary()
    ensure_canary()
    canaries = SecretEntry.objects.filter(name__startswith="canary:")
    assert canaries.count() == 2


def test_checking_takes_one_query(django_assert_num_queries):
    with django_assert_num_queries(1):
        check_canary()


def test_a_wrong_key_is_noticed_even_if_the_canary_was_removed(settings):
    put_sym_keys(Holder.WALLET, [KEY])
    SecretEntry.objects.all().delete()
    settings.KEYCHAIN_KEYS = [NEW]
    with pytest.raises(KeyringError):
        ensure_canary()
    assert not SecretEntry.objects.exists()


def test_the_right_key_replaces_a_removed_canary():
    put_sym_keys(Holder.WALLET, [KEY])
    SecretEntry.objects.all().delete()
    ensure_canary()
    check_canary()
    assert sym_keys(Holder.WALLET, [KEY.topic])
