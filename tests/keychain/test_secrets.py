"""Secrets are put, found and forgotten; a damaged row harms only itself."""

from __future__ import annotations

import pytest
from django.db import connection

from accounts.models import AuditEntry
from keychain.models import KeyPairEntry, SecretEntry, SigningKeyEntry, SymKeyEntry
from keychain.services import (
    DecryptionFailed,
    Holder,
    SecretNotFound,
    forget,
    give_signing_key,
    key_pairs,
    put_key_pair,
    put_key_pairs,
    put_secret,
    put_signing_key,
    put_sym_keys,
    secret,
    signing_key,
    signing_keys,
    sym_keys,
    token_digest,
)
from tests.people import ALICE, CHARLIE, sign_in
from tests.snapshots import rows_of
from walletconnect.crypto.keys import KeyPair, SymKey
from walletconnect.crypto.signing import IdentityKey

pytestmark = pytest.mark.django_db

KEYS = [SymKey(bytes([number]) * 32) for number in range(1, 6)]
PAIRS = [KeyPair.from_private(bytes([number]) * 32) for number in range(1, 6)]
SIGNING = [IdentityKey.from_seed(bytes([number]) * 32) for number in range(1, 6)]


def copy_sealed(model, *, source, target):
    sealed = model.objects.get(pk=source.pk).sealed
    model.objects.filter(pk=target.pk).update(sealed=sealed)


def test_symmetric_keys_are_found_by_topic():
    put_sym_keys(Holder.WALLET, KEYS)
    topics = [key.topic for key in KEYS]
    assert sym_keys(Holder.WALLET, topics) == dict(zip(topics, KEYS, strict=True))


def test_key_pairs_are_found_by_the_topic_of_the_public_key():
    topic = put_key_pair(Holder.CAST, PAIRS[0])
    assert topic == PAIRS[0].topic
    assert key_pairs(Holder.CAST, [topic]) == {topic: PAIRS[0]}


def test_signing_keys_are_found_by_did():
    did = put_signing_key(Holder.IDENTITY, SIGNING[0])
    assert signing_key(Holder.IDENTITY, did) == SIGNING[0]
    with pytest.raises(SecretNotFound, match="has no signing key"):
        signing_key(Holder.IDENTITY, SIGNING[1].did)


def test_secrets_are_found_by_name_and_replaced():
    put_secret(Holder.CAST, "webhook 1", b"first")
    put_secret(Holder.CAST, "webhook 1", b"second")
    assert secret(Holder.CAST, "webhook 1") == b"second"
    assert SecretEntry.objects.filter(holder=Holder.CAST).count() == 1


def test_putting_a_key_twice_changes_nothing():
    put_sym_keys(Holder.WALLET, KEYS)
    before = rows_of("keychain")
    put_sym_keys(Holder.WALLET, KEYS)
    assert rows_of("keychain") == before


def test_each_holder_sees_its_own():
    put_sym_keys(Holder.WALLET, KEYS[:1])
    put_secret(Holder.CAST, "name", b"value")
    assert sym_keys(Holder.CAST, [KEYS[0].topic]) == {}
    with pytest.raises(SecretNotFound):
        secret(Holder.WALLET, "name")


def test_many_take_one_query_each(django_assert_num_queries):
    topics = [key.topic for key in KEYS]
    with django_assert_num_queries(1):
        put_sym_keys(Holder.WALLET, KEYS)
    with django_assert_num_queries(1):
        put_key_pairs(Holder.WALLET, PAIRS)
    with django_assert_num_queries(1):
        sym_keys(Holder.WALLET, topics)
    with django_assert_num_queries(1):
        key_pairs(Holder.WALLET, [pair.topic for pair in PAIRS])
    with django_assert_num_queries(1):
        signing_keys(Holder.IDENTITY, [key.did for key in SIGNING])


def test_forgetting_takes_any_kind_of_name_and_only_the_holders():
    put_sym_keys(Holder.WALLET, KEYS[:1])
    put_sym_keys(Holder.CAST, KEYS[:1])
    put_key_pair(Holder.WALLET, PAIRS[0])
    put_signing_key(Holder.WALLET, SIGNING[0])
    put_secret(Holder.WALLET, "name", b"value")
    names = [KEYS[0].topic, PAIRS[0].topic, SIGNING[0].did, "name", "never there"]
    forget(Holder.WALLET, names)
    for model in (SymKeyEntry, KeyPairEntry, SigningKeyEntry, SecretEntry):
        assert not model.objects.filter(holder=Holder.WALLET).exists()
    assert sym_keys(Holder.CAST, [KEYS[0].topic])


@pytest.mark.parametrize("name", [KEYS[0].topic, SIGNING[0].did])
def test_a_secret_does_not_take_the_name_of_a_key(name):
    with pytest.raises(ValueError, match="belongs to a key"):
        put_secret(Holder.CAST, name, b"value")


def test_a_row_that_holds_another_rows_bytes_does_not_open_and_others_do():
    put_sym_keys(Holder.WALLET, KEYS)
    rows = list(SymKeyEntry.objects.order_by("pk"))
    copy_sealed(SymKeyEntry, source=rows[0], target=rows[1])
    found = sym_keys(Holder.WALLET, [key.topic for key in KEYS])
    assert set(found) == {key.topic for key in KEYS} - {rows[1].topic}


def test_a_secret_of_alice_does_not_open_for_charlie():
    alice, charlie = sign_in(ALICE).user, sign_in(CHARLIE).user
    put_sym_keys(Holder.WALLET, KEYS[:1], account_id=alice.accounts.get().pk)
    rows = SymKeyEntry.objects.filter(topic=KEYS[0].topic)
    rows.update(account=charlie.accounts.get())
    assert sym_keys(Holder.WALLET, [KEYS[0].topic]) == {}


def test_a_row_that_was_renamed_does_not_open():
    put_signing_key(Holder.IDENTITY, SIGNING[0])
    SigningKeyEntry.objects.update(did=SIGNING[1].did)
    assert signing_keys(Holder.IDENTITY, [SIGNING[1].did]) == {}


def test_an_older_value_put_back_does_not_open():
    put_secret(Holder.CAST, "name", b"old")
    old = SecretEntry.objects.get(holder=Holder.CAST)
    put_secret(Holder.CAST, "name", b"new")
    SecretEntry.objects.filter(pk=old.pk).update(sealed=old.sealed)
    with pytest.raises(DecryptionFailed):
        secret(Holder.CAST, "name")


def test_damage_is_audited_once_an_hour():
    put_sym_keys(Holder.WALLET, KEYS[:1])
    SymKeyEntry.objects.update(sealed=b"\x01adamaged")
    for _ in range(3):
        assert sym_keys(Holder.WALLET, [KEYS[0].topic]) == {}
    entry = AuditEntry.objects.get(action="keychain.open-failed")
    assert entry.subject.startswith("keychain_symkeyentry:")


def test_a_key_made_before_its_account_is_given_to_it():
    account = sign_in(ALICE).user.accounts.get()
    put_signing_key(Holder.IDENTITY, SIGNING[0])
    give_signing_key(Holder.IDENTITY, SIGNING[0].did, account_id=account.pk)
    assert signing_key(Holder.IDENTITY, SIGNING[0].did) == SIGNING[0]
    account.delete()
    with pytest.raises(SecretNotFound):
        signing_key(Holder.IDENTITY, SIGNING[0].did)


def test_token_digests_are_keyed_and_stable():
    digest = token_digest("api token")
    assert digest == token_digest("api token")
    assert digest != token_digest("api tokem")
    assert len(digest) == 64
    # The key is of this database: another one gives other digests.
    SecretEntry.objects.filter(name="token digest key").delete()
    assert token_digest("api token") != digest


def test_no_table_holds_a_secret_in_the_clear():
    put_sym_keys(Holder.WALLET, KEYS)
    put_key_pairs(Holder.WALLET, PAIRS)
    put_signing_key(Holder.IDENTITY, SIGNING[0])
    put_secret(Holder.CAST, "name", b"planted-secret-value")
    with connection.cursor() as cursor:
        for model in (SymKeyEntry, KeyPairEntry, SigningKeyEntry, SecretEntry):
            cursor.execute(f"SELECT t::text FROM {model._meta.db_table} t")  # noqa: S608
            text = "\n".join(row[0] for row in cursor)
            for number in range(1, 6):
                assert bytes([number] * 32).hex() not in text
            assert b"planted-secret-value".hex() not in text
