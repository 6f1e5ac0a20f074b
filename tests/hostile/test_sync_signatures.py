"""Valid and invalid signatures for enabling Sync.

The store key is derived from the text of the signature, so a signature in another encoding
would lead to another store. A refused signature leaves no store, no key and no copy of itself.
"""

from __future__ import annotations

import pytest

from accounts.services import revoke_device
from syncstore.models import Store
from syncstore.services import NotYourAccount, enable_sync
from tests.hostile.unchanged import nothing_changes
from tests.people import sign_in_person
from tests.walletconnect.test_sync_derivation import with_the_other_s
from walletconnect.crypto.ethereum import sign_eip191
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.sync.derivation import sync_message

# name: another encoding of a valid signature, or another signature.
FAULTS = {
    "no 0x": lambda valid: valid[2:],
    "0X": lambda valid: valid.replace("0x", "0X"),
    "upper case": lambda valid: "0x" + valid[2:].upper(),
    "v as 0 or 1": lambda valid: valid[:-2] + {"1b": "00", "1c": "01"}[valid[-2:]],
    "the other v": lambda valid: valid[:-2] + {"1b": "1c", "1c": "1b"}[valid[-2:]],
    "the other s": with_the_other_s,
    "a space behind": lambda valid: valid + " ",
    "a zero character": lambda valid: valid + "\x00",
    "a digit short": lambda valid: valid[:-1],
    "a byte more": lambda valid: valid + "00",
    "other digits": lambda valid: valid[:-1] + "\u0661",
    "nothing": lambda _: "",
    "no point": lambda _: "0x" + "ff" * 64 + "1b",
    "zeros": lambda _: "0x" + "00" * 64 + "1b",
}


@pytest.fixture
def newcomer():
    """A signed-in user without Sync."""
    return sign_in_person("newcomer")


@pytest.mark.parametrize("fault", FAULTS)
def test_another_encoding_creates_no_store(newcomer, fault):
    with nothing_changes(), pytest.raises(RemoteProtocolError):
        enable_sync(
            newcomer.account, FAULTS[fault](newcomer.sync_signature), newcomer.device
        )


@pytest.mark.parametrize("fault", FAULTS)
def test_another_encoding_does_not_replace_a_store(person, fault):
    with nothing_changes(), pytest.raises(RemoteProtocolError):
        enable_sync(person.account, FAULTS[fault](person.sync_signature), person.device)


def test_the_signature_of_another_account_or_text_creates_no_store(newcomer, person):
    text = sync_message(AccountId.parse(newcomer.account.address))
    for wrong in (
        person.sync_signature,
        sign_eip191(text, person.wallet.private_key),
        sign_eip191(text + "\n", newcomer.wallet.private_key),
        sign_eip191(
            text.replace("account: ", "account:  "), newcomer.wallet.private_key
        ),
        sign_eip191(text.replace(":1:", ":5:"), newcomer.wallet.private_key),
    ):
        with nothing_changes(), pytest.raises(RemoteProtocolError):
            enable_sync(newcomer.account, wrong, newcomer.device)


def test_a_foreign_or_revoked_device_creates_no_store(newcomer, person):
    with nothing_changes(), pytest.raises(NotYourAccount):
        enable_sync(newcomer.account, newcomer.sync_signature, person.device)
    revoke_device(newcomer.device, by=newcomer.device)
    newcomer.device.refresh_from_db()
    with nothing_changes(), pytest.raises(NotYourAccount):
        enable_sync(newcomer.account, newcomer.sync_signature, newcomer.device)


def test_a_valid_signature_creates_a_store_once(newcomer):
    enable_sync(newcomer.account, newcomer.sync_signature, newcomer.device)
    assert Store.objects.count() == 2
    with nothing_changes():
        enable_sync(newcomer.account, newcomer.sync_signature, newcomer.device)
