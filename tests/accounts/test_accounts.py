"""Accounts: proven, added to a user, labelled, removed without a trace."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.db import connection

from accounts import services as accounts
from accounts.models import (
    Account,
    AccountEvent,
    AccountTombstone,
    AuditEntry,
    Device,
    User,
)
from accounts.signals import account_closing, account_removing
from common import clock
from identity.models import IdentityKey
from keychain.models import SigningKeyEntry
from tests.people import ALICE, ALICE_SECOND, BOB, CHARLIE, link, sign_in
from tests.snapshots import rows_of

FILL = import_module("accounts.migrations.0003_account_key").FILL

pytestmark = pytest.mark.django_db


def test_the_first_sign_in_creates_a_user_with_a_random_name():
    user = sign_in(ALICE).user
    assert ALICE.address.lower() not in user.username.lower()
    assert not user.has_usable_password()
    assert [account.address for account in user.accounts.all()] == [ALICE.account]


def test_the_second_sign_in_finds_the_user():
    assert sign_in(ALICE).user == sign_in(ALICE).user
    assert User.objects.count() == 1


def test_an_account_is_found_in_any_spelling():
    sign_in(ALICE)
    row = accounts.find_account(ALICE.account)
    assert row == accounts.find_account(ALICE.account.lower())
    assert row == accounts.proven_account(ALICE.account.lower(), user=None)
    assert accounts.find_account(BOB.account) is None


def test_the_same_address_on_another_chain_is_the_same_account():
    device = sign_in(ALICE)
    polygon = f"eip155:137:{ALICE.address}"
    assert accounts.find_account(polygon) == device.user.accounts.get()
    assert accounts.proven_account(polygon, user=None).address == ALICE.account
    assert User.objects.count() == 1


def test_accounts_that_were_apart_before_stay_apart():
    """Two rows of one address: the older one stands for all chains but the other's."""
    device = sign_in(ALICE)
    first = device.user.accounts.get()
    polygon, optimism = (f"eip155:{chain}:{ALICE.address}" for chain in (137, 10))
    Account.objects.filter(pk=first.pk).update(key="first")
    second = Account.objects.create(
        user=device.user, address=polygon, key="second", created_at=clock.now()
    )
    with connection.cursor() as cursor:
        cursor.execute(FILL)
    assert accounts.find_account(polygon) == second
    assert accounts.find_account(polygon.lower()) == second
    assert accounts.find_account(ALICE.account) == first
    assert accounts.find_account(optimism) == first


def test_a_second_account_joins_the_user():
    device = sign_in(ALICE)
    link(ALICE_SECOND, device)
    assert device.user.accounts.count() == 2
    assert User.objects.count() == 1
    assert sign_in(ALICE_SECOND).user == device.user


def test_an_account_of_another_user_cannot_be_added():
    device = sign_in(ALICE)
    sign_in(BOB)
    before = rows_of("accounts", "identity", "keychain")
    with pytest.raises(accounts.AccountTaken):
        accounts.proven_account(BOB.account, user=device.user)
    assert rows_of("accounts", "identity", "keychain") == before


def test_labels_are_cut_and_on_one_line():
    account = sign_in(ALICE).user.accounts.get()
    accounts.label_account(account, " Savings\n" + "x" * 100)
    account.refresh_from_db()
    assert account.label.startswith("Savings")
    assert "\n" not in account.label
    assert len(account.label) == 64


def test_removing_the_last_account_leaves_a_keyed_hash_and_nothing_else():
    device = sign_in(ALICE)
    charlie = sign_in(CHARLIE)
    accounts.remove_account(ALICE.row(), by=device)
    assert not Account.objects.at(ALICE.account).exists()
    assert not User.objects.filter(pk=device.user_id).exists()
    assert not AccountEvent.objects.filter(user_id=device.user_id).exists()
    assert not SigningKeyEntry.objects.exclude(account=CHARLIE.row()).exists()
    assert accounts.device_of_session(device.session) is None
    # Charlie is as he was.
    assert accounts.device_of_session(charlie.session) == charlie
    (tombstone,) = AccountTombstone.objects.all()
    assert tombstone.digest == accounts.tombstone_digest(ALICE.account.lower())


def test_no_table_names_a_removed_account():
    device = sign_in(ALICE)
    accounts.remove_account(ALICE.row(), by=device)
    rows = rows_of("accounts", "identity", "keychain", without=())
    text = repr(rows).lower()
    assert ALICE.address.lower() not in text
    assert ALICE.address.lower()[2:] not in text


def test_removing_one_of_two_accounts_leaves_the_user_and_the_other():
    device = sign_in(ALICE)
    link(ALICE_SECOND, device)
    accounts.remove_account(ALICE_SECOND.row(), by=device)
    assert accounts.device_of_session(device.session) == device
    assert [row.address for row in device.user.accounts.all()] == [ALICE.account]


def test_staff_stay_when_their_last_account_goes():
    device = sign_in(ALICE)
    User.objects.filter(pk=device.user_id).update(is_staff=True)
    accounts.remove_account(ALICE.row(), by=device)
    assert User.objects.filter(pk=device.user_id).exists()


def test_signing_in_after_removal_starts_anew():
    first = sign_in(ALICE)
    accounts.remove_account(ALICE.row(), by=first)
    second = sign_in(ALICE)
    assert second.user_id != first.user_id
    assert Device.objects.count() == 1


def test_receivers_run_while_the_account_and_then_its_keys_still_exist():
    found = []

    def look(account, signal, **_):
        can_sign = IdentityKey.objects.active().filter(account=account).exists()
        found.append((signal, can_sign))

    device = sign_in(ALICE)
    for signal in (account_closing, account_removing):
        signal.connect(look)
    try:
        accounts.remove_account(ALICE.row(), by=device)
    finally:
        for signal in (account_closing, account_removing):
            signal.disconnect(look)
    assert found == [(account_closing, True), (account_removing, False)]


def test_a_receiver_that_fails_keeps_the_account():
    def fail(**_):
        raise ZeroDivisionError

    device = sign_in(ALICE)
    account_closing.connect(fail)
    try:
        with pytest.raises(ZeroDivisionError):
            accounts.remove_account(ALICE.row(), by=device)
    finally:
        account_closing.disconnect(fail)
    assert accounts.device_of_session(device.session) == device


def test_a_restored_backup_loses_the_accounts_removed_since():
    sign_in(ALICE)
    sign_in(BOB)
    digest = accounts.tombstone_digest(ALICE.account)
    assert accounts.apply_tombstones([digest, "0" * 64]) == 1
    assert [row.address for row in Account.objects.all()] == [BOB.account]
    assert accounts.apply_tombstones([digest]) == 0


def test_removal_is_audited_without_a_name():
    device = sign_in(ALICE)
    accounts.remove_account(ALICE.row(), by=device)
    (entry,) = AuditEntry.objects.filter(action="account.removed")
    assert entry.actor == device.user.username
