"""Turning Sync on: one signature in canonical form, of the account, kept nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import coincurve
import pytest
from django.db import connection

from accounts.models import Account, AuditEntry
from common import clock
from keychain.services import Holder, sym_keys
from messaging.models import TopicSubscription
from syncstore import services
from syncstore.models import ColdStart, DeviceCursor, Store
from tests.people import Person, sign_in
from walletconnect.crypto.ethereum import personal_digest
from walletconnect.errors import RemoteProtocolError
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "sync.json").read_text()
)["cases"]


def counts() -> dict[str, int]:
    return {
        model.__name__: model._default_manager.count()
        for model in (Store, ColdStart, TopicSubscription, DeviceCursor)
    }


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["account"])
def test_the_signature_leads_to_the_store_of_the_shipped_client(case, alice):
    account = Account.objects.create(
        user=alice.user, address=case["account"], created_at=clock.now()
    )
    store, *_ = services.enable_sync(account, case["signature"], alice.device)
    expected = case["stores"][0]
    assert store.name == expected["store_name"]
    assert store.topic == expected["client_topic"]
    key = sym_keys(Holder.WALLET, [store.topic])[store.topic]
    assert key.hex() == expected["store_key"]


def test_it_listens_to_the_store_and_rebuilds_it_from_history(alice):
    store, *_ = services.enable_sync(alice.account, alice.sync_signature, alice.device)
    wanted = TopicSubscription.objects.get(topic=store.topic)
    assert (wanted.party, wanted.topic, wanted.state) == (
        "wallet",
        store.topic,
        "wanted",
    )
    cold_start = ColdStart.objects.get(account=alice.account)
    assert cold_start.state == ColdStart.State.RUNNING
    assert cold_start.next_attempt_at is not None
    cursors = DeviceCursor.objects.filter(store=store)
    assert {cursor.device for cursor in cursors} == set(alice.devices)


def test_doing_it_again_changes_nothing(alice):
    first = services.enable_sync(alice.account, alice.sync_signature, alice.device)
    before = counts()
    again = services.enable_sync(alice.account, alice.sync_signature, alice.devices[1])
    assert [store.pk for store in again] == [store.pk for store in first]
    assert counts() == before


def test_a_device_that_joins_later_gets_a_cursor(alice):
    services.enable_sync(alice.account, alice.sync_signature, alice.device)
    late = sign_in(alice.wallet)
    services.enable_sync(alice.account, alice.sync_signature, late)
    assert DeviceCursor.objects.filter(device=late).exists()


def respell(text: str) -> list[str]:
    digits = text[2:]
    return [
        digits,
        "0X" + digits,
        "0x" + digits.upper(),
        "0x" + digits[:-2] + ("00" if digits.endswith("1b") else "01"),
        text + " ",
        text[:-2],
        "",
    ]


@pytest.mark.parametrize("number", range(7))
def test_it_refuses_any_other_spelling_of_the_signature(number, alice):
    with pytest.raises(RemoteProtocolError):
        services.enable_sync(
            alice.account, respell(alice.sync_signature)[number], alice.device
        )
    assert set(counts().values()) == {0}


def test_it_refuses_the_signature_of_another_wallet(alice, bob):
    with pytest.raises(RemoteProtocolError):
        services.enable_sync(alice.account, bob.sync_signature, alice.device)
    assert set(counts().values()) == {0}


def test_it_refuses_charlies_device(alice, charlie):
    with pytest.raises(services.NotYourAccount):
        services.enable_sync(alice.account, alice.sync_signature, charlie.device)
    assert set(counts().values()) == {0}


def test_it_refuses_a_device_that_was_signed_out(alice):
    alice.device.revoked_at = clock.now()
    with pytest.raises(services.NotYourAccount):
        services.enable_sync(alice.account, alice.sync_signature, alice.device)


def sign_otherwise(person: Person) -> str:
    """A genuine signature with another nonce, as some hardware wallets make them."""
    from coincurve._libsecp256k1 import ffi

    digest = personal_digest(services.message_to_sign(person.account))
    key = coincurve.PrivateKey(person.wallet.private_key)
    signature = key.sign_recoverable(
        digest, hasher=None, custom_nonce=(ffi.NULL, ffi.new("char [32]", b"other" * 6))
    )
    return "0x" + signature[:64].hex() + f"{signature[64] + 27:02x}"


def test_a_wallet_that_signs_differently_never_replaces_the_store(alice):
    store, *_ = services.enable_sync(alice.account, alice.sync_signature, alice.device)
    before = counts()
    other = sign_otherwise(alice)
    assert other != alice.sync_signature
    with pytest.raises(services.SignatureDiffers):
        services.enable_sync(alice.account, other, alice.devices[1])
    assert counts() == before
    assert Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE).topic == store.topic
    assert AuditEntry.objects.filter(action="sync.signature-differs").count() == 1


def test_a_lost_fingerprint_key_does_not_lock_the_wallet_out(alice):
    services.enable_sync(alice.account, alice.sync_signature, alice.device)
    Store.objects.update(signature_fingerprint="of another key")
    again = services.enable_sync(alice.account, alice.sync_signature, alice.device)
    assert len(again) == 2


def test_the_signature_is_kept_nowhere(alice):
    services.enable_sync(alice.account, alice.sync_signature, alice.device)
    secrets = [alice.sync_signature[2:66], alice.wallet.private_key.hex()]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT t::text FROM "{table}" AS t')  # noqa: S608
            text = "\n".join(row for (row,) in cursor.fetchall())
            assert not any(secret in text for secret in secrets), table


def test_an_account_from_before_gets_stores_that_are_new(alice):
    services.enable_sync(alice.account, alice.sync_signature, alice.device)
    topics = list(Store.objects.order_by("name").values_list("name", "topic"))
    Store.objects.exclude(name=NOTIFY_SUBSCRIPTION_STORE).delete()
    ColdStart.objects.update(state=ColdStart.State.DONE, next_attempt_at=None, found=7)
    services.enable_sync(alice.account, alice.sync_signature, alice.devices[1])
    assert list(Store.objects.order_by("name").values_list("name", "topic")) == topics
    row = ColdStart.objects.get()
    assert (row.state, row.found) == ("running", 0)
