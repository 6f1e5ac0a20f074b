"""Signatures that turn Sync on, and those that do not: another spelling is another store.

reliability.md, item 15 and "Sync-signature care". Whatever is refused leaves no store, no key
and no trace of the signature; a store that is there stays what it is.
"""

from __future__ import annotations

import pytest

from accounts.services import revoke_device
from syncstore.models import Store
from syncstore.services import NotYourAccount, enable_sync
from tests.hostile.unchanged import nothing_changes
from tests.subscriptions.world import sign_in
from tests.walletconnect.test_sync_derivation import with_the_other_s
from walletconnect.crypto.ethereum import sign_eip191
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.sync.derivation import sync_message

# name: another spelling of a genuine signature, or another signature.
FAULTS = {
    "no 0x": lambda genuine: genuine[2:],
    "0X": lambda genuine: genuine.replace("0x", "0X"),
    "upper case": lambda genuine: "0x" + genuine[2:].upper(),
    "v as 0 or 1": lambda genuine: (
        genuine[:-2] + {"1b": "00", "1c": "01"}[genuine[-2:]]
    ),
    "the other v": lambda genuine: (
        genuine[:-2] + {"1b": "1c", "1c": "1b"}[genuine[-2:]]
    ),
    "the other s": with_the_other_s,
    "a space behind": lambda genuine: genuine + " ",
    "a zero character": lambda genuine: genuine + "\x00",
    "a digit short": lambda genuine: genuine[:-1],
    "a byte more": lambda genuine: genuine + "00",
    "other digits": lambda genuine: genuine[:-1] + "\u0661",
    "nothing": lambda _: "",
    "no point": lambda _: "0x" + "ff" * 64 + "1b",
    "zeros": lambda _: "0x" + "00" * 64 + "1b",
}


@pytest.fixture
def newcomer():
    """Somebody who signed in, and did not turn Sync on yet."""
    return sign_in("newcomer")


@pytest.mark.parametrize("fault", FAULTS)
def test_another_spelling_makes_no_store(newcomer, fault):
    with nothing_changes(), pytest.raises(RemoteProtocolError):
        enable_sync(
            newcomer.account, FAULTS[fault](newcomer.sync_signature), newcomer.device
        )


@pytest.mark.parametrize("fault", FAULTS)
def test_another_spelling_does_not_replace_a_store(person, fault):
    with nothing_changes(), pytest.raises(RemoteProtocolError):
        enable_sync(person.account, FAULTS[fault](person.sync_signature), person.device)


def test_the_signature_of_another_account_or_text_makes_no_store(newcomer, person):
    text = sync_message(AccountId.parse(newcomer.account.address))
    for wrong in (
        person.sync_signature,
        sign_eip191(text, person.private_key),
        sign_eip191(text + "\n", newcomer.private_key),
        sign_eip191(text.replace("account: ", "account:  "), newcomer.private_key),
        sign_eip191(text.replace(":1:", ":5:"), newcomer.private_key),
    ):
        with nothing_changes(), pytest.raises(RemoteProtocolError):
            enable_sync(newcomer.account, wrong, newcomer.device)


def test_a_device_of_somebody_else_or_one_that_was_revoked_makes_no_store(
    newcomer, person
):
    with nothing_changes(), pytest.raises(NotYourAccount):
        enable_sync(newcomer.account, newcomer.sync_signature, person.device)
    revoke_device(newcomer.device, by=newcomer.device)
    newcomer.device.refresh_from_db()
    with nothing_changes(), pytest.raises(NotYourAccount):
        enable_sync(newcomer.account, newcomer.sync_signature, newcomer.device)


def test_the_right_one_makes_a_store_once(newcomer):
    enable_sync(newcomer.account, newcomer.sync_signature, newcomer.device)
    assert Store.objects.count() == 1
    with nothing_changes():
        enable_sync(newcomer.account, newcomer.sync_signature, newcomer.device)
