"""Signing in with a wallet: the text, the answer, and every way in which it must fail."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import connection

from accounts import services as accounts
from accounts.models import AuditEntry, Device, SignInRequest, User
from common import clock
from identity import services as identity
from identity.models import IdentityKey, IdentityRegistration
from identity.services import (
    ForeignOrigin,
    MalformedSignature,
    OtherBrowser,
    RequestExpired,
    RequestUnknown,
    RequestUsed,
    TextDiffers,
    UnsupportedAccount,
    WrongSigner,
)
from keychain.models import SigningKeyEntry
from tests.people import (
    ALICE,
    ALICE_SECOND,
    BOB,
    CHARLIE,
    FIREFOX_MAC,
    ORIGIN,
    begin,
    link,
    new_session,
    sign_in,
)
from tests.snapshots import rows_of
from walletconnect.identity.cacao import Cacao

pytestmark = pytest.mark.django_db

APPS = ("accounts", "identity", "keychain", "sessions")


@pytest.fixture
def session_key():
    return new_session().session_key


@pytest.fixture
def request_of_alice(session_key):
    return begin(ALICE, session_key)


def complete(session_key, request, *, signature=None, device=None, nonce=None):
    return identity.complete_sign_in(
        session_key,
        nonce=nonce or request.nonce,
        signature=signature or ALICE.sign(request.message),
        user_agent=FIREFOX_MAC,
        device=device,
    )


def refuses(error, **arguments):
    """``complete`` raises ``error``, and nothing changes but the audit log."""
    before = rows_of(*APPS)
    with pytest.raises(error) as refusal:
        complete(**arguments)
    assert rows_of(*APPS) == before
    entry = AuditEntry.objects.filter(action="sign-in.failed").latest("pk")
    assert entry.detail == error.kind
    return refusal.value


# --- the message ----------------------------------------------------------------------


def test_the_text_is_what_wallets_recognise(request_of_alice):
    lines = request_of_alice.message.split("\n")
    assert lines[0] == (
        "localhost:8000 wants you to sign in with your Ethereum account:"
    )
    assert lines[1] == ALICE.address
    assert "for ALL apps" in lines[3]
    assert f"URI: {ORIGIN}" in lines
    assert "Chain ID: 1" in lines
    assert f"Nonce: {request_of_alice.nonce}" in lines
    assert lines[-1] == f"- {request_of_alice.identity_did}"
    assert request_of_alice.message.count("did:key:") == 1


def test_every_message_has_its_own_nonce_and_key(session_key):
    first, second = begin(ALICE, session_key), begin(ALICE, session_key)
    assert first.nonce != second.nonce
    assert first.identity_did != second.identity_did


@pytest.mark.parametrize(
    ("origin", "domain"),
    [
        ("http://localhost:8000", "localhost:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://LOCALHOST:8000", "localhost:8000"),
    ],
)
def test_the_domain_is_the_host_that_the_browser_shows(session_key, origin, domain):
    request = begin(ALICE, session_key, origin=origin)
    assert request.message.startswith(f"{domain} wants you")


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "https://evil.example",
        "http://localhost",
        "http://localhost:8001",
        "http://localhost:8000.evil.example",
        "http://user@localhost:8000",
        "ftp://localhost:8000",
        "http://[::1",
        "null",
    ],
)
def test_a_page_at_a_foreign_address_gets_no_message(session_key, origin):
    before = rows_of(*APPS)
    with pytest.raises(ForeignOrigin, match="http://localhost:8000"):
        begin(ALICE, session_key, origin=origin)
    assert rows_of(*APPS) == before


def test_loopback_names_count_only_where_the_services_are_embedded(
    session_key, settings
):
    settings.PUBLIC_URL = "https://inbox.example"
    settings.EMBEDDED_POSTGRES = False
    assert begin(ALICE, session_key, origin="https://inbox.example")
    with pytest.raises(ForeignOrigin):
        begin(ALICE, session_key, origin="http://localhost:8000")


@pytest.mark.parametrize(
    "account",
    [
        "",
        ALICE.address,
        "eip155:1:0x1234",
        "eip155:one:" + ALICE.address,
        "solana:mainnet:7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXArAaKv",
        f"eip155:1:{ALICE.address.swapcase().replace('0X', '0x')}",
        f"eip155:1:{ALICE.address}\nNonce: 1",
    ],
)
def test_other_accounts_than_ethereum_get_no_message(session_key, account):
    before = rows_of(*APPS)
    with pytest.raises(UnsupportedAccount):
        begin(ALICE, session_key, account=account)
    assert rows_of(*APPS) == before


def test_an_address_in_lower_case_is_spelled_properly(session_key):
    request = begin(ALICE, session_key, account=ALICE.account.lower())
    assert request.address == ALICE.account


# --- the answer -----------------------------------------------------------------------


def test_one_signature_makes_user_account_device_and_identity(
    session_key, request_of_alice
):
    device = complete(session_key, request_of_alice)
    account = device.user.accounts.get()
    assert account.address == ALICE.account
    assert device.name == "Firefox · Mac"
    key = IdentityKey.objects.get(device=device, account=account)
    assert key.did == request_of_alice.identity_did
    assert key.registered_at is not None
    cacao = Cacao.from_json(key.cacao)
    assert str(cacao.verify(now=clock.now_s())) == ALICE.account
    row = IdentityRegistration.objects.get(public_key=key.did[len("did:key:") :])
    assert row.cacao == key.cacao
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"sign-in", "device.added", "identity-key.made", "account.added"} <= actions


def test_the_device_can_sign_for_the_account_at_once(session_key, request_of_alice):
    device = complete(session_key, request_of_alice)
    signing = identity.signing_identity(ALICE.row(), device=device)
    assert signing.did == request_of_alice.identity_did == signing.key.did
    assert signing.keys_server == "http://localhost:8000"


@pytest.mark.parametrize("form", ["plain", "upper", "no 0x", "v 0/1", "json"])
def test_signatures_are_taken_in_any_form(session_key, request_of_alice, form):
    signed = ALICE.sign(request_of_alice.message)
    texts = {
        "plain": signed,
        "upper": signed.upper(),
        "no 0x": signed[2:],
        "v 0/1": signed[:-2] + f"{int(signed[-2:], 16) - 27:02x}",
        "json": json.dumps({"address": ALICE.address, "sig": signed}),
    }
    complete(session_key, request_of_alice, signature=texts[form])
    # What others verify is always the canonical text.
    assert json.loads(IdentityKey.objects.get().cacao)["s"]["s"] == signed


def test_the_device_has_no_session_before_it_is_bound(session_key, request_of_alice):
    device = complete(session_key, request_of_alice)
    assert accounts.device_of_session(session_key) is None
    accounts.bind_session(device, "the new key of the session")
    assert accounts.device_of_session(session_key) is None
    assert accounts.device_of_session("the new key of the session") == device


def test_a_second_browser_is_a_second_device_with_its_own_key():
    first, second = sign_in(ALICE), sign_in(ALICE)
    assert first.user == second.user
    assert first.pk != second.pk
    dids = set(IdentityKey.objects.active().values_list("did", flat=True))
    assert len(dids) == 2


# --- refusals, each one change away from the valid case --------------------------------


def test_a_signature_of_another_wallet_names_both(session_key, request_of_alice):
    error = refuses(
        WrongSigner,
        session_key=session_key,
        request=request_of_alice,
        signature=BOB.sign(request_of_alice.message),
    )
    assert (error.signed_by, error.expected) == (BOB.address, ALICE.address)
    assert f"{BOB.address[:6]}…{BOB.address[-4:]}" in str(error)


@pytest.mark.parametrize(
    ("added", "error"), [(" ", TextDiffers), ("\n", TextDiffers), (".", WrongSigner)]
)
def test_a_signature_of_another_text_is_refused(
    session_key, request_of_alice, added, error
):
    refusal = refuses(
        WrongSigner,
        session_key=session_key,
        request=request_of_alice,
        signature=ALICE.sign(request_of_alice.message + added),
    )
    assert type(refusal) is error


def test_a_sync_signature_does_not_sign_in(session_key, request_of_alice):
    from walletconnect.identity.did import AccountId
    from walletconnect.sync.derivation import sync_message

    refuses(
        WrongSigner,
        session_key=session_key,
        request=request_of_alice,
        signature=ALICE.sign(sync_message(AccountId.parse(ALICE.account))),
    )


@pytest.mark.parametrize(
    "signature", ["nonsense", "0x" + "00" * 65, "0x" + "ff" * 64 + "1b"]
)
def test_malformed_signatures_are_refused(session_key, request_of_alice, signature):
    refuses(
        MalformedSignature,
        session_key=session_key,
        request=request_of_alice,
        signature=signature,
    )


def test_after_a_refusal_the_right_signature_still_signs_in(
    session_key, request_of_alice
):
    refuses(
        WrongSigner,
        session_key=session_key,
        request=request_of_alice,
        signature=BOB.sign(request_of_alice.message),
    )
    assert complete(session_key, request_of_alice)


def test_a_message_serves_once(session_key, request_of_alice):
    complete(session_key, request_of_alice)
    refuses(RequestUsed, session_key=session_key, request=request_of_alice)


def test_a_message_serves_ten_minutes(session_key, request_of_alice):
    late = request_of_alice.created_at + timedelta(minutes=10)
    with clock.frozen(late):
        refuses(RequestExpired, session_key=session_key, request=request_of_alice)
    with clock.frozen(late - timedelta(seconds=1)):
        assert complete(session_key, request_of_alice)


def test_a_message_serves_the_browser_it_was_made_for(request_of_alice):
    refuses(
        OtherBrowser,
        session_key=new_session().session_key,
        request=request_of_alice,
    )


def test_a_nonce_that_was_not_made_here_is_unknown(session_key, request_of_alice):
    refuses(
        RequestUnknown,
        session_key=session_key,
        request=request_of_alice,
        nonce="f" * 64,
    )


@pytest.mark.django_db(transaction=True)
def test_of_two_that_bring_the_same_signature_at_once_one_signs_in(session_key):
    import threading

    request = begin(ALICE, session_key)
    outcomes = []

    def run():
        try:
            outcomes.append(complete(session_key, request))
        except RequestUsed as error:
            outcomes.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Device) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, RequestUsed) for outcome in outcomes) == 2
    assert Device.objects.count() == User.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_browsers_that_sign_in_first_at_once_are_one_user():
    import threading

    pairs = []
    for _ in range(3):
        session_key = new_session().session_key
        pairs.append((session_key, begin(ALICE, session_key)))
    faults = []

    def run(session_key, request):
        try:
            complete(session_key, request)
        except Exception as error:
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert User.objects.count() == 1
    assert Device.objects.count() == 3


# --- adding accounts ------------------------------------------------------------------


def test_a_second_account_is_added_to_who_is_signed_in():
    device = sign_in(ALICE)
    account = link(ALICE_SECOND, device)
    assert account.user == device.user
    assert Device.objects.count() == 1
    both = {key.account_id for key in device.identity_keys.all()}
    assert both == {account.pk, ALICE.row().pk}
    assert identity.signing_identity(account, device=device)


def test_signing_again_proves_the_device_and_replaces_its_key():
    device = sign_in(ALICE)
    old = device.identity_keys.get()
    later = device.proved_at + timedelta(days=3)
    with clock.frozen(later):
        link(ALICE, device)
    device.refresh_from_db()
    assert device.proved_at == later
    old.refresh_from_db()
    assert old.retired_at is not None
    assert identity.signing_identity(ALICE.row(), device=device).did != old.did
    assert device.identity_keys.filter(retired_at=None).count() == 1


def test_an_account_of_another_user_is_not_added():
    device = sign_in(ALICE)
    sign_in(BOB)
    request = begin(BOB, device.session, user=device.user)
    before = rows_of(*APPS)
    with pytest.raises(accounts.AccountTaken):
        complete(
            device.session,
            request,
            signature=BOB.sign(request.message),
            device=device,
        )
    assert rows_of(*APPS) == before


def test_a_message_for_adding_an_account_does_not_sign_in():
    device = sign_in(ALICE)
    request = begin(ALICE_SECOND, device.session, user=device.user)
    refuses(
        OtherBrowser,
        session_key=device.session,
        request=request,
        signature=ALICE_SECOND.sign(request.message),
    )


def test_a_message_for_signing_in_does_not_add_an_account():
    device = sign_in(ALICE)
    request = begin(ALICE_SECOND, device.session)
    refuses(
        OtherBrowser,
        session_key=device.session,
        request=request,
        signature=ALICE_SECOND.sign(request.message),
        device=device,
    )


def test_charlie_cannot_answer_alices_message_from_his_session():
    alice, charlie = sign_in(ALICE), sign_in(CHARLIE)
    request = begin(ALICE_SECOND, alice.session, user=alice.user)
    signature = ALICE_SECOND.sign(request.message)
    for session_key, device in (
        (charlie.session, charlie),
        (alice.session, charlie),
        (charlie.session, alice),
    ):
        refuses(
            OtherBrowser,
            session_key=session_key,
            request=request,
            signature=signature,
            device=device,
        )


# --- what is left behind --------------------------------------------------------------


def test_messages_that_never_came_back_are_forgotten_with_their_keys(session_key):
    request = begin(ALICE, session_key)
    assert SigningKeyEntry.objects.filter(did=request.identity_did).exists()
    assert identity.prune(request.expires_at) == 0
    assert identity.prune(request.expires_at + timedelta(seconds=1)) == 1
    assert not SigningKeyEntry.objects.filter(did=request.identity_did).exists()
    assert not SignInRequest.objects.exists()


def test_the_key_of_a_sign_in_is_not_forgotten(session_key, request_of_alice):
    device = complete(session_key, request_of_alice)
    identity.prune(request_of_alice.expires_at + timedelta(days=2))
    assert identity.signing_identity(ALICE.row(), device=device)
