"""Sign-in with two signatures, pasted without JavaScript."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest

from accounts.models import Account, Device, SignInRequest
from common import clock
from syncstore.models import Store
from tests.dashboard.conftest import Browser, text_of
from tests.ethereum_node import ACCEPTING, account_on, running_node
from tests.people import ALICE, ALICE_SECOND, BOB
from walletconnect.crypto.ethereum import personal_digest
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE


def test_both_texts_are_signed_and_the_inbox_opens(stranger):
    stranger.sign_in(ALICE, sync=True)
    page = stranger.get("/inbox")
    assert page.status_code == 200
    assert f"Sync is on for {ALICE.row().short}." in text_of(page)
    assert Store.objects.filter(account=ALICE.row()).count() == 2
    assert stranger.device.name == "Firefox · Mac"


def test_sync_can_be_skipped_and_the_inbox_shows_that_it_is_off(stranger):
    stranger.sign_in(ALICE)
    assert "Sync is off" in text_of(stranger.get("/inbox"))
    assert not Store.objects.exists()


def test_the_requested_page_is_kept_through_sign_in(stranger):
    there = stranger.get("/devices").headers["Location"]
    stranger.get(there)
    stranger.follow(
        stranger.post(
            "/signin/begin", address=ALICE.address, signer="elsewhere", next="/devices"
        )
    )
    stranger.post("/signin/prove", signature=stranger.sign(ALICE))
    share = f"/signin/share?account={ALICE.row().pk}"
    assert 'href="/devices">Skip for now' in stranger.get(share).text


def test_the_session_gets_another_key(stranger):
    stranger.begin(ALICE.address)
    before = stranger.session_key
    stranger.get("/signin/prove")
    stranger.post("/signin/prove", signature=stranger.sign(ALICE))
    assert stranger.session_key != before


def test_the_text_names_the_host_that_the_browser_shows(stranger):
    stranger.begin(ALICE.address)
    text = stranger.get("/signin/text/1").text
    assert text.startswith("localhost:8000 wants you to sign in")
    assert f"- {SignInRequest.objects.get().identity_did}" in text


@pytest.mark.parametrize(
    "address", ["0x12", "bob.eth", "", "0x" + "g" * 40, ALICE.address.swapcase()]
)
def test_an_invalid_address_is_reported_beside_the_field(stranger, address):
    page = stranger.begin(address)
    assert page.status_code == 422
    assert 'aria-invalid="true"' in page.text
    assert not SignInRequest.objects.exists()


def test_a_signature_of_another_account_names_it(stranger):
    stranger.follow(stranger.begin(ALICE.address))
    page = stranger.post("/signin/prove", signature=stranger.sign(BOB))
    assert page.status_code == 422
    assert "This signature is from" in text_of(page)
    assert not Device.objects.exists()


@pytest.mark.parametrize(
    "pasted", ["", "hello", "0x12", "{", '{"sig": 4}', "0x" + "0" * 130]
)
def test_an_invalid_signature_does_not_sign_in(stranger, pasted):
    stranger.follow(stranger.begin(ALICE.address))
    page = stranger.post("/signin/prove", signature=pasted)
    assert page.status_code == 422
    assert not Device.objects.exists()


def test_an_expired_text_can_be_replaced(stranger):
    stranger.follow(stranger.begin(ALICE.address))
    signature = stranger.sign(ALICE)
    with clock.frozen(clock.now() + timedelta(minutes=11)):
        page = stranger.post("/signin/prove", signature=signature)
    assert page.status_code == 422
    assert "more than ten minutes old" in text_of(page)
    assert "Make a new text" in text_of(page)
    assert f'value="{ALICE.address}"' in page.text


def test_a_text_belongs_to_one_browser(stranger):
    stranger.follow(stranger.begin(ALICE.address))
    signature = stranger.sign(ALICE)
    other = Browser()
    other.follow(other.begin(ALICE.address))
    page = other.post("/signin/prove", signature=signature)
    assert page.status_code == 422
    assert not Device.objects.exists()


def contract_signs(stranger):
    """What ``ACCEPTING`` accepts for the text on the page, pasted as hex."""
    return "0x" + personal_digest(stranger.get("/signin/text/1").text).hex()


@pytest.fixture
def node(settings):
    with running_node() as node:
        settings.RPC_URLS = {1: node.url, 10: node.url}
        yield node


def test_a_contract_wallet_signs_in_and_sync_stays_off(stranger, node):
    stranger.follow(stranger.begin(account_on(1, ACCEPTING)))
    answer = stranger.post("/signin/prove", signature=contract_signs(stranger))
    assert answer.status_code == 302
    page = stranger.get(answer.headers["Location"])
    assert "Signed in as a smart-contract wallet." in text_of(page)
    account = Account.objects.get()
    share = f"/signin/share?account={account.pk}"
    refused = stranger.post(share, signature="0x" + "01" * 100)
    assert refused.status_code == 422
    assert "Sync needs a wallet with a key of its own" in text_of(refused)
    assert not Store.objects.exists()


def test_a_contract_signs_again_on_its_own_chain(stranger, node):
    node.chain_id = 10
    stranger.follow(stranger.begin(account_on(10, ACCEPTING)))
    stranger.follow(stranger.post("/signin/prove", signature=contract_signs(stranger)))
    address = Account.objects.get().chain_address
    stranger.follow(
        stranger.post("/signin/begin", address=address, signer="elsewhere", again="yes")
    )
    assert "Chain ID: 10" in stranger.get("/signin/text/1").text
    answer = stranger.post("/signin/prove", signature=contract_signs(stranger))
    assert answer.status_code == 302


def test_an_unavailable_chain_can_be_asked_again(stranger, node):
    stranger.follow(stranger.begin(account_on(1, ACCEPTING)))
    signature = contract_signs(stranger)
    node.answers = [b"not json"]
    page = stranger.post("/signin/prove", signature=signature)
    assert "cannot be checked now" in text_of(page)
    assert f'name="signature" value="{signature}"' in page.text
    assert "Check again" in text_of(page)
    assert not Device.objects.exists()
    assert stranger.post("/signin/prove", signature=signature).status_code == 302


def test_a_contract_that_refuses_is_explained(stranger, node):
    stranger.follow(stranger.begin(account_on(1, ACCEPTING)))
    page = stranger.post("/signin/prove", signature="0x" + "01" * 100)
    assert page.status_code == 422
    assert "does not accept this signature" in text_of(page)
    assert not Device.objects.exists()


def test_a_chain_without_an_endpoint_is_explained(stranger):
    stranger.follow(stranger.begin(account_on(137, ACCEPTING)))
    page = stranger.post("/signin/prove", signature="0x" + "01" * 100)
    assert "NOTIFYWEB_RPC_URLS" in text_of(page)
    assert not Device.objects.exists()


def test_the_same_signature_does_not_serve_twice(stranger):
    stranger.follow(stranger.begin(ALICE.address))
    signature = stranger.sign(ALICE)
    stranger.post("/signin/prove", signature=signature)
    stranger.get("/inbox")
    page = stranger.post("/signin/prove", signature=signature)
    assert page.status_code in (302, 422)
    assert Device.objects.count() == 1


def test_the_demo_wallet_is_refused_where_there_is_no_demo(stranger, settings):
    settings.DEMO = False
    assert stranger.begin(ALICE.address, signer="demo").status_code == 404
    assert "Demo wallet" not in text_of(stranger.get("/signin"))
    settings.DEMO = True
    assert stranger.begin(ALICE.address, signer="demo").status_code == 302
    assert "Demo wallet" in text_of(stranger.get("/signin"))


def test_an_unknown_signer_is_not_found(stranger):
    assert stranger.begin(ALICE.address, signer="oracle").status_code == 404


def test_another_account_joins_the_same_inbox(alice):
    browser = alice.browser
    browser.follow(browser.begin(ALICE_SECOND.address))
    there = browser.post("/signin/prove", signature=browser.sign(ALICE_SECOND))
    assert there.status_code == 302
    assert {each.address for each in alice.user.accounts.all()} == {
        ALICE.account,
        ALICE_SECOND.account,
    }
    assert Device.objects.active().filter(user=alice.user).count() == 2


def test_an_account_of_another_user_is_not_taken_over(alice, bob):
    browser = alice.browser
    browser.follow(browser.begin(BOB.address))
    page = browser.post("/signin/prove", signature=browser.sign(BOB))
    assert page.status_code == 422
    assert "already has an inbox of its own" in text_of(page)
    assert Account.objects.get(address=BOB.account).user == bob.user


def test_a_wallet_that_signs_differently_changes_nothing(alice):
    store = Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE)
    path = f"/signin/share?account={alice.account.pk}"
    alice.get(path)
    page = alice.post(
        path,
        signature=BOB.sign(
            alice.get("/signin/text/2?account=" + str(alice.account.pk)).text
        ),
    )
    assert page.status_code == 422
    store.refresh_from_db()
    assert Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE) == store


def test_a_signature_of_another_text_does_not_turn_sync_on(stranger):
    stranger.sign_in(ALICE)
    path = f"/signin/share?account={ALICE.row().pk}"
    stranger.get(path)
    page = stranger.post(path, signature=ALICE.sign("another text"))
    assert page.status_code == 422
    assert "does not fit" in text_of(page)
    assert not Store.objects.exists()


def test_upper_case_and_short_signatures_lead_to_the_same_store(alice, stranger):
    """The key is derived from the signature's text, so its encoding is normalized."""
    stranger.sign_in(ALICE)
    path = f"/signin/share?account={ALICE.row().pk}"
    stranger.get(path)
    signature = ALICE.sign(
        stranger.get(f"/signin/text/2?account={ALICE.row().pk}").text
    )
    pasted = signature[2:].upper()
    assert stranger.post(path, signature=pasted).status_code == 302
    assert Store.objects.count() == 2


def test_too_many_wrong_signatures_have_to_wait(stranger):
    stranger.follow(stranger.begin(ALICE.address))
    for _ in range(30):
        assert stranger.post("/signin/prove", signature="0x12").status_code == 422
    page = stranger.post("/signin/prove", signature="0x12")
    assert page.status_code == 429
    assert int(page.headers["Retry-After"]) > 0


def test_failures_from_many_addresses_are_limited_but_lock_no_owner_out(
    stranger, settings, redis_client
):
    """The right signature passes, however often others have failed for the account."""
    settings.TRUSTED_PROXIES = 1
    stranger.follow(stranger.begin(ALICE.address))
    for host in range(30):
        page = stranger.post(
            "/signin/prove",
            headers={"X-Forwarded-For": f"192.0.2.{host}"},
            signature="0x12",
        )
        assert page.status_code == 422
    elsewhere = {"X-Forwarded-For": "198.51.100.7"}
    page = stranger.post("/signin/prove", headers=elsewhere, signature="0x12")
    assert page.status_code == 429
    text = stranger.get("/signin/text/1").text
    page = stranger.post("/signin/prove", headers=elsewhere, signature=ALICE.sign(text))
    assert page.status_code == 302


def test_too_many_texts_have_to_wait(stranger):
    stranger.get("/signin")
    answers = [
        stranger.post("/signin/begin", address=ALICE.address, signer="elsewhere")
        for _ in range(61)
    ]
    assert answers[-1].status_code == 429


def test_signing_out_ends_the_device(alice):
    browser = alice.browser
    device = browser.device
    browser.get("/inbox")
    browser.post("/signout")
    device.refresh_from_db()
    assert device.revoked_at is not None
    assert browser.get("/inbox").status_code == 302


# --- as people paste --------------------------------------------------------------------


@pytest.mark.parametrize(
    "pasted",
    [
        "{}\n",
        " \t{}\r\n",
        '"{}"',
        "\N{LEFT DOUBLE QUOTATION MARK}{}\N{RIGHT DOUBLE QUOTATION MARK}",
        "\u200b{}\u00a0",
        "eip155:1:{}\n",
        "ethereum:{}@1",
    ],
)
def test_an_address_is_taken_as_it_is_pasted(stranger, pasted):
    answer = stranger.begin(pasted.replace("{}", ALICE.address))
    assert answer.headers["Location"] == "/signin/prove"
    assert SignInRequest.objects.get().address == ALICE.account


@pytest.mark.parametrize(
    "wrap", ["{}\n", '"{}"\r\n', '{{"sig": "{}\\n", "msg": "x\\n"}}']
)
def test_a_signature_is_taken_as_it_is_pasted(stranger, wrap):
    stranger.follow(stranger.begin(ALICE.address))
    signature = stranger.sign(ALICE)
    wrapped = wrap.format(f"{signature[:70]}\n{signature[70:]}")
    answer = stranger.post("/signin/prove", signature=wrapped)
    assert answer.status_code == 302
    share = answer.headers["Location"]
    stranger.get(share)
    text = f"/signin/text/2?account={ALICE.row().pk}"
    wrapped = wrap.format(stranger.sign(ALICE, text))
    assert stranger.post(share, signature=wrapped).status_code == 302


@pytest.mark.parametrize("added", ["\n", "\r\n", " "])
def test_a_text_signed_with_white_space_added_is_explained_and_stays_valid(
    stranger, added
):
    """A CACAO with a signature of another text would not verify."""
    stranger.follow(stranger.begin(ALICE.address))
    text = stranger.get("/signin/text/1").text
    page = stranger.post("/signin/prove", signature=ALICE.sign(text + added))
    assert page.status_code == 422
    assert "at the end, which makes it another text" in text_of(page)
    assert "Another account signed" not in text_of(page)
    assert not Device.objects.exists()
    answer = stranger.post("/signin/prove", signature=ALICE.sign(text))
    assert answer.status_code == 302
    share = answer.headers["Location"]
    stranger.get(share)
    text = stranger.get(f"/signin/text/2?account={ALICE.row().pk}").text
    page = stranger.post(share, signature=ALICE.sign(text + added))
    assert page.status_code == 422
    assert "at the end, which makes it another text" in text_of(page)
    assert not Store.objects.exists()
    assert stranger.post(share, signature=ALICE.sign(text)).status_code == 302


def test_the_command_signs_the_text_whatever_the_file_ends_in(stranger):
    stranger.follow(stranger.begin(ALICE.address))
    page = html.unescape(stranger.get("/signin/prove").text)
    (signed,) = re.findall(r"sign_message\(text\((.+)\)\)\.signature", page)
    # What the file holds goes through the command's own expression.
    signed = signed.replace("open('message.txt','rb').read()", "content")
    text = stranger.get("/signin/text/1").text
    for content in (text, text + "\n", text.replace("\n", "\r\n") + "\r\n"):
        found = eval(signed, {"content": content.encode()})  # noqa: S307
        assert found == text.encode()
