"""Linking a device by a one-time code, and starting a new group of devices."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection

from accounts.models import AuditEntry
from accounts.services import revoke_device
from common import clock
from keychain.services import Holder, sym_keys
from messaging.models import TopicSubscription
from syncstore import services
from syncstore.models import ColdStart, DeviceCursor, DeviceLink, Store
from syncstore.services.links import CODE_LETTERS, VALID_FOR
from tests.people import sign_in
from tests.syncstore.test_enable_sync import sign_otherwise
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

pytestmark = pytest.mark.usefixtures("redis_client")


@pytest.fixture
def new(alice, store):
    """A device that has signed in and waits for a link."""
    return sign_in(alice.wallet)


@pytest.fixture
def code(alice, new):
    link = services.begin_link(alice.account, new)
    return services.code_of(link)


def refusals() -> list[str]:
    entries = AuditEntry.objects.filter(action="sync.link-refused").order_by("pk")
    return list(entries.values_list("detail", flat=True))


def test_a_confirmed_device_joins_the_store(alice, new, code):
    assert not DeviceCursor.objects.filter(device=new).exists()
    shown = services.find_link(services.format_code(code).lower(), alice.device)
    assert (shown.device, shown.account) == (new, alice.account)
    assert not DeviceCursor.objects.filter(device=new).exists()
    services.confirm_link(f" {code[:4]} - {code[4:]} ", alice.device)
    assert DeviceCursor.objects.filter(device=new).exists()
    entry = AuditEntry.objects.get(action="sync.linked")
    assert (entry.device, entry.account) == (alice.device, alice.account)
    assert entry.subject == f"accounts.device:{new.pk}"


def test_a_code_has_eight_letters_that_are_not_mistaken_for_each_other(code):
    assert len(code) == 8
    assert set(code) <= set(CODE_LETTERS)
    assert not set(CODE_LETTERS) & set("0O1ILUV")


def test_a_code_works_once(alice, code):
    services.confirm_link(code, alice.device)
    with pytest.raises(services.LinkUsed):
        services.confirm_link(code, alice.device)
    assert refusals() == ["used"]


def test_a_code_expires_after_two_minutes(alice, new, code, monkeypatch):
    assert timedelta(minutes=2) == VALID_FOR
    DeviceLink.objects.update(expires_at=clock.now())
    with pytest.raises(services.LinkExpired):
        services.confirm_link(code, alice.device)
    assert refusals() == ["expired"]
    assert not DeviceCursor.objects.filter(device=new).exists()
    assert services.code_of(services.newest_link(alice.account, new)) == ""


def test_a_new_code_ends_the_one_before(alice, new, code):
    second = services.code_of(services.begin_link(alice.account, new))
    with pytest.raises(services.LinkExpired):
        services.confirm_link(code, alice.device)
    services.confirm_link(second, alice.device)


@pytest.mark.parametrize("text", ["", "A", "2222-2222", "x" * 500, "\x00", "ÄÖÜ", "🙂"])
def test_a_guessed_code_is_unknown(alice, code, text):
    with pytest.raises(services.LinkUnknown):
        services.confirm_link(text, alice.device)
    assert refusals() == ["unknown"]


def test_another_user_cannot_tell_the_code_from_a_guess(alice, bob, new, code):
    services.enable_sync(bob.account, bob.sync_signature, bob.device)
    with pytest.raises(services.LinkUnknown) as found:
        services.confirm_link(code, bob.device)
    with pytest.raises(services.LinkUnknown) as guessed:
        services.confirm_link("2222-2222", bob.device)
    assert str(found.value) == str(guessed.value)
    assert not DeviceCursor.objects.filter(device=new).exists()
    # The code is still good for its own user.
    services.confirm_link(code, alice.device)


def test_the_device_that_shows_the_code_cannot_confirm_it(new, code):
    with pytest.raises(services.LinkOwnDevice):
        services.confirm_link(code, new)


def test_a_device_that_does_not_sync_cannot_confirm(alice, code):
    other = sign_in(alice.wallet)
    with pytest.raises(services.LinkNotSyncing):
        services.confirm_link(code, other)


def test_a_device_that_was_signed_out_neither_shows_nor_confirms(alice, new, code):
    revoke_device(new, by=None)
    with pytest.raises(services.LinkExpired):
        services.confirm_link(code, alice.device)
    new.refresh_from_db()
    with pytest.raises(services.NotYourAccount):
        services.begin_link(alice.account, new)


def test_nobody_elses_account_and_no_account_without_sync(alice, bob, new):
    with pytest.raises(services.NotYourAccount):
        services.begin_link(bob.account, new)
    with pytest.raises(services.NothingToLink):
        services.begin_link(bob.account, bob.device)


def test_guessing_ends_after_ten_attempts_of_a_user(alice, code):
    for _ in range(10):
        with pytest.raises(services.LinkUnknown):
            services.confirm_link("2222-2222", alice.device)
    with pytest.raises(services.LinkTooMany) as refused:
        services.confirm_link(code, alice.devices[1])
    assert refused.value.retry_after > 0
    assert refusals()[-1] == "too-many"


def test_codes_are_issued_ten_at_a_time(alice, new):
    for _ in range(10):
        services.begin_link(alice.account, new)
    with pytest.raises(services.LinkTooMany):
        services.begin_link(alice.account, new)


def test_the_code_is_stored_sealed_and_cleared_when_used(alice, code):
    def stored() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT t::text FROM syncstore_devicelink AS t")
            return "\n".join(row for (row,) in cursor.fetchall())

    assert code not in stored()
    assert code.encode().hex() not in stored()
    services.confirm_link(code, alice.device)
    assert bytes(DeviceLink.objects.get().sealed_code) == b""


@pytest.mark.django_db(transaction=True)
def test_of_two_confirmations_at_once_one_counts(alice, code):
    outcomes = []

    def confirm(device):
        try:
            services.confirm_link(code, device)
            outcomes.append("linked")
        except services.LinkUsed:
            outcomes.append("used")
        finally:
            connection.close()

    threads = [threading.Thread(target=confirm, args=(each,)) for each in alice.devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["linked", "used"]


# --- a new group ----------------------------------------------------------------------


def test_a_new_group_replaces_the_store_on_all_devices_of_this_server(alice, store):
    other = sign_otherwise(alice)
    made, *_ = services.start_new_group(alice.account, other, alice.devices[1])
    assert made.topic != store.topic
    assert Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE) == made
    assert set(made.cursors.values_list("device", flat=True)) == {
        device.pk for device in alice.devices
    }
    assert not sym_keys(Holder.WALLET, [store.topic])
    assert made.topic in sym_keys(Holder.WALLET, [made.topic])
    assert ColdStart.objects.get().state == ColdStart.State.RUNNING
    wanted = TopicSubscription.objects.exclude(state="unwanted")
    assert made.topic in wanted.values_list("topic", flat=True)
    assert AuditEntry.objects.filter(action="sync.new-group").count() == 1
    # The signature of before leads to the former store, which is no longer this account's.
    with pytest.raises(services.SignatureDiffers):
        services.enable_sync(alice.account, alice.sync_signature, alice.device)


def test_a_new_group_with_the_same_signature_changes_nothing(alice, store):
    made = services.start_new_group(alice.account, alice.sync_signature, alice.device)
    assert store in made
    assert len(made) == Store.objects.count() == 2


def test_a_new_group_needs_a_signature_of_the_account_and_a_device_of_the_user(
    alice, bob, store
):
    from walletconnect.errors import RemoteProtocolError

    with pytest.raises(RemoteProtocolError):
        services.start_new_group(alice.account, bob.sync_signature, alice.device)
    with pytest.raises(services.NotYourAccount):
        services.start_new_group(alice.account, alice.sync_signature, bob.device)
    assert Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE) == store
