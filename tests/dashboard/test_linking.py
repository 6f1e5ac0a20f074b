"""A wallet that signs differently each time: noticed, linked by a code, or a new group."""

from __future__ import annotations

import re
from datetime import timedelta

import coincurve
import pytest

from accounts.models import AuditEntry
from syncstore.models import DeviceCursor, DeviceLink, Store
from tests.dashboard.conftest import Browser
from tests.people import ALICE, BOB, CHROME_WINDOWS, Wallet
from walletconnect.crypto.ethereum import personal_digest
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE


class Restless(Wallet):
    """A wallet whose every signature has another nonce, as some hardware makes them."""

    count = 0

    def sign(self, message: str) -> str:
        from coincurve._libsecp256k1 import ffi

        Restless.count += 1
        salt = ffi.new("char [32]", Restless.count.to_bytes(32, "big"))
        key = coincurve.PrivateKey(self.private_key)
        signature = key.sign_recoverable(
            personal_digest(message), hasher=None, custom_nonce=(ffi.NULL, salt)
        )
        return "0x" + signature[:64].hex() + f"{signature[64] + 27:02x}"


RESTLESS = Restless(b"\x77" * 32)


def share_url(wallet: Wallet) -> str:
    return f"/signin/share?account={wallet.row().pk}"


def sign_share(browser: Browser, wallet: Wallet, **fields: str):
    text = f"/signin/text/2?account={wallet.row().pk}"
    signature = browser.sign(wallet, text)
    return browser.post(share_url(wallet), signature=signature, **fields)


@pytest.fixture(autouse=True)
def keychain_is_open(open_keychain):
    """Every test signs in."""


@pytest.fixture
def first():
    """The first device; Sync is on, without the check."""
    browser = Browser()
    browser.sign_in(RESTLESS)
    browser.get(share_url(RESTLESS))
    assert sign_share(browser, RESTLESS).status_code == 302
    return browser


@pytest.fixture
def second(first):
    browser = Browser(CHROME_WINDOWS)
    browser.sign_in(RESTLESS)
    return browser


def code_on(browser: Browser, wallet: Wallet = RESTLESS) -> str:
    url = f"/signin/link?account={wallet.row().pk}"
    browser.get(url)
    page = browser.follow(browser.post(url))
    found = re.search(r'id="link-code">([^<]+)<', page.text)
    assert found, page.text
    return found[1]


# --- the first device -----------------------------------------------------------------


def test_the_check_is_offered_and_chosen_for_pasted_signatures():
    browser = Browser()
    browser.sign_in(ALICE)
    page = browser.get(share_url(ALICE)).text
    (box,) = re.findall(r'<input[^>]+name="check"[^>]*>', page)
    assert " checked" in box


def test_equal_signatures_turn_sync_on():
    browser = Browser()
    browser.sign_in(ALICE)
    browser.get(share_url(ALICE))
    page = browser.follow(sign_share(browser, ALICE, check="yes"))
    assert "Sign once more" in page.text
    assert not Store.objects.exists()
    # A reload shows the same step.
    assert "Sign once more" in browser.get(share_url(ALICE)).text
    assert sign_share(browser, ALICE, compare="yes").status_code == 302
    assert Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE).account == ALICE.row()


def test_different_signatures_are_explained_and_can_be_used_nevertheless():
    browser = Browser()
    browser.sign_in(RESTLESS)
    browser.get(share_url(RESTLESS))
    browser.follow(sign_share(browser, RESTLESS, check="yes"))
    page = sign_share(browser, RESTLESS, compare="yes")
    assert page.status_code == 422
    assert "This wallet signs differently each time" in page.text
    assert not Store.objects.exists()
    assert AuditEntry.objects.filter(action="sync.signature-differs").exists()
    (signature,) = re.findall(r'name="signature" value="(0x\w{130})"', page.text)
    assert browser.post(share_url(RESTLESS), signature=signature).status_code == 302
    assert Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE).account == RESTLESS.row()


# --- a second device: the code --------------------------------------------------------


def test_a_different_signature_on_a_second_device_offers_two_ways(second):
    second.get(share_url(RESTLESS))
    page = sign_share(second, RESTLESS)
    assert page.status_code == 422
    assert "This wallet signs differently each time" in page.text
    assert f'href="/signin/link?account={RESTLESS.row().pk}"' in page.text
    assert f'href="/signin/share/new?account={RESTLESS.row().pk}"' in page.text


def test_a_device_is_linked_by_a_code(first, second):
    code = code_on(second)
    state_url = f"/signin/link/state?account={RESTLESS.row().pk}"
    assert second.get(state_url).json() == {"state": "open"}
    page = first.get(f"/devices/link?code={code}")
    assert "Let Chrome · Windows sync?" in page.text
    done = first.follow(first.post("/devices/link", code=code))
    assert "Chrome · Windows is linked and syncs" in done.text
    assert second.get(state_url).json() == {"state": "linked"}
    link = DeviceLink.objects.get()
    assert DeviceCursor.objects.filter(device=link.device).exists()
    page = second.follow(second.get(f"/signin/link?account={RESTLESS.row().pk}"))
    assert "Sync is on for" in page.text


def test_the_code_survives_a_reload_and_has_a_qr_code(second):
    code = code_on(second)
    page = second.get(f"/signin/link?account={RESTLESS.row().pk}").text
    assert code in page
    assert re.search(r'<svg role="img"[^>]*class="qr"', page)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("used", "That code was used already."),
        ("guessed", "No device of this inbox shows that code."),
        ("own", "This is the device that shows the code."),
    ],
)
def test_a_bad_code_is_refused_in_words(first, second, spoil, told):
    code = code_on(second)
    browser = second if spoil == "own" else first
    if spoil == "used":
        first.get("/devices/link")
        first.post("/devices/link", code=code)
    if spoil == "guessed":
        code = "2222-2222"
    browser.get("/devices/link")
    page = browser.post("/devices/link", code=code)
    assert page.status_code == 422
    assert told in page.text


def test_the_code_of_another_inbox_is_like_a_guess(second):
    code = code_on(second)
    bob = Browser()
    bob.sign_in(BOB, sync=True)
    bob.get("/devices/link")
    page = bob.post("/devices/link", code=code)
    assert "No device of this inbox shows that code." in page.text
    assert second.get(f"/signin/link/state?account={RESTLESS.row().pk}").json() == {
        "state": "open"
    }
    # Nor can Bob ask for a code of the account.
    for path in ("/signin/link", "/signin/link/state", "/signin/share/new"):
        assert bob.get(f"{path}?account={RESTLESS.row().pk}").status_code == 404


def test_guessing_is_limited(first, second):
    code = code_on(second)
    first.get("/devices/link")
    for _ in range(10):
        first.post("/devices/link", code="2222-2222")
    page = first.post("/devices/link", code=code)
    assert page.status_code == 422
    assert "Too many codes were tried." in page.text


# --- a new group ----------------------------------------------------------------------


def test_a_new_group_is_explained_and_started_with_one_signature(second):
    before = Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE).topic
    url = f"/signin/share/new?account={RESTLESS.row().pk}"
    page = second.get(url)
    assert "Wallets and servers elsewhere stay in the former group" in page.text
    text = f"/signin/text/2?account={RESTLESS.row().pk}"
    refused = second.post(url, signature=second.sign(BOB, text))
    assert refused.status_code == 422
    assert Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE).topic == before
    assert second.post(url, signature=second.sign(RESTLESS, text)).status_code == 302
    assert Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE).topic != before


def test_without_sync_there_is_no_group_to_replace():
    browser = Browser()
    browser.sign_in(ALICE)
    answer = browser.get(f"/signin/share/new?account={ALICE.row().pk}")
    assert answer.headers["Location"].startswith("/signin/share?")


# --- another server -------------------------------------------------------------------


def test_keys_go_to_another_server_through_the_hands_of_the_person(first, second):
    url = f"/signin/key?account={RESTLESS.row().pk}"
    second.get(url)
    page = second.follow(second.post(url))
    (request,) = re.findall(r"notifyweb-key-request\.[\w-]{50,}", page.text)
    first.get("/devices/key")
    asked = first.post("/devices/key", request=request)
    assert "the keys of the shared store?" in asked.text
    assert "Chrome · Windows" in asked.text
    given = first.post("/devices/key", request=request, confirm="yes")
    (answer,) = re.findall(r"notifyweb-key-answer\.[\w-]{50,}", given.text)
    # Here the stores are the same, so that joining them changes nothing.
    topics = set(Store.objects.values_list("topic", flat=True))
    done = second.follow(second.post(url, answer=answer))
    assert "Sync is on for" in done.text
    assert set(Store.objects.values_list("topic", flat=True)) == topics
    used = second.post(url, answer=answer)
    assert used.status_code == 422
    assert "That code was used already." in used.text


def test_what_is_no_request_and_what_is_somebody_elses_is_refused(second):
    url = f"/signin/key?account={RESTLESS.row().pk}"
    second.get(url)
    page = second.follow(second.post(url))
    (request,) = re.findall(r"notifyweb-key-request\.[\w-]{50,}", page.text)
    bob = Browser()
    bob.sign_in(BOB, sync=True)
    bob.get("/devices/key")
    refused = bob.post("/devices/key", request=request, confirm="yes")
    assert refused.status_code == 422
    assert "not the one expected here" in refused.text
    refused = bob.post("/devices/key", request="hello")
    assert "This is not the text that the other device shows" in refused.text
    assert bob.get(url).status_code == 404


def test_giving_keys_needs_a_signature_of_the_last_ten_minutes(first):
    device = first.device
    device.proved_at -= timedelta(minutes=11)
    device.save()
    answer = first.get("/devices/key")
    assert answer.headers["Location"].startswith("/signin/again?")
