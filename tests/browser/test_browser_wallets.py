"""Wallet extensions (EIP-6963): discovery, signing, refusal, and pasted signatures."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.people import Wallet

pytestmark = [pytest.mark.system, pytest.mark.browser]

# What an extension puts into every page; it signs outside, as extensions do.
EXTENSION = """
const info = {uuid: "7d1c", rdns: "example.lantern", name: "Lantern", icon: "data:image/svg+xml,<svg/>"};
const listeners = [];
const provider = {
  request: (call) => window.lantern(call.method, call.params ?? []),
  on: (name, listener) => name === "accountsChanged" && listeners.push(listener),
};
window.switchAccount = (address) => listeners.forEach((listener) => listener([address]));
const announce = () => window.dispatchEvent(
  new CustomEvent("eip6963:announceProvider", {detail: Object.freeze({info, provider})}));
window.addEventListener("eip6963:requestProvider", announce);
announce();
"""


class Lantern:
    """A wallet extension with one key. ``refuses``: the user declines."""

    def __init__(self, page, wallet: Wallet) -> None:
        self.wallet = wallet
        self.refuses = False
        self.signed: list[str] = []
        page.expose_function("lantern", self.answer)
        page.add_init_script(EXTENSION)

    def answer(self, method: str, parameters: list):
        if method == "eth_requestAccounts":
            # In lower case, as many wallets give it.
            return [self.wallet.address.lower()]
        if self.refuses:
            raise RuntimeError("User rejected the request")
        text = bytes.fromhex(parameters[0].removeprefix("0x")).decode()
        self.signed.append(text)
        return self.wallet.sign(text)


@pytest.fixture
def page(system, window):
    return window(base_url=system.base_url)


def test_a_wallet_of_the_browser_signs_both_texts(page):
    lantern = Lantern(page, Wallet(b"\x11" * 32))
    page.goto("/signin")
    page.get_by_role("button", name="Lantern").click()
    # The first text is asked for at once, the second waits for a press.
    page.wait_for_url("**/signin/share*")
    assert len(lantern.signed) == 1
    assert "wants you to sign in" in lantern.signed[0]
    page.get_by_role("button", name="Sign in your wallet").click()
    page.wait_for_url("**/inbox")
    expect(page.locator("#flash")).to_contain_text("Sync is on for")
    assert lantern.signed[1].startswith(
        "I authorize this app to sync my account: eip155:1:0x"
    )


def test_declining_is_no_error_and_can_be_tried_again(page):
    lantern = Lantern(page, Wallet(b"\x12" * 32))
    lantern.refuses = True
    page.goto("/signin")
    page.get_by_role("button", name="Lantern").click()
    page.wait_for_url("**/signin/prove")
    expect(page.locator("#sign-note")).to_contain_text("User rejected the request")
    lantern.refuses = False
    page.get_by_role("button", name="Sign in your wallet").click()
    page.wait_for_url("**/signin/share*")


def test_a_wallet_that_switches_accounts_is_noticed(page):
    me, other = Wallet(b"\x14" * 32), Wallet(b"\x15" * 32)
    lantern = Lantern(page, me)
    page.goto("/signin")
    page.get_by_role("button", name="Lantern").click()
    page.wait_for_url("**/signin/share*")
    # While a signature is asked for…
    lantern.refuses = True
    page.get_by_role("button", name="Sign in your wallet").click()
    expect(page.locator("#sign-note")).to_contain_text("User rejected")
    page.evaluate("address => window.switchAccount(address)", other.address)
    told = f"Your wallet switched to {other.address[:6]}…{other.address[-4:]}."
    expect(page.locator("#sign-switched")).to_contain_text(told)
    page.evaluate("address => window.switchAccount(address)", me.address)
    expect(page.locator("#sign-switched")).to_be_hidden()
    # … and on every page afterwards.
    lantern.refuses = False
    page.get_by_role("link", name="Skip for now").first.click()
    page.wait_for_url("**/inbox")
    bar = page.locator("#wallet-switched")
    expect(bar).to_have_attribute("data-watches", "Lantern")
    page.evaluate("address => window.switchAccount(address)", other.address)
    expect(bar).to_contain_text(told)
    lantern.wallet = other
    bar.get_by_role("button", name="Sign in with this account").click()
    page.wait_for_url("**/signin/share*")
    assert other.address in lantern.signed[-1]


def test_without_an_extension_the_page_explains_that_none_is_needed(page):
    page.goto("/signin")
    expect(page.locator("#no-wallets")).to_have_text(
        "No wallet extension found. You do not need one."
    )


def test_a_signature_from_elsewhere_is_pasted(page):
    wallet = Wallet(b"\x13" * 32)
    page.goto("/signin")
    page.get_by_label("Address").fill(wallet.address)
    page.get_by_role("button", name="Continue").click()
    # The login, and the text of Sync twice: pasted signatures are compared.
    for _ in range(3):
        text = page.locator("#text-to-sign").text_content()
        page.get_by_label("Signature", exact=True).fill(wallet.sign(text))
        page.get_by_role("button", name="Check the signature").click()
    page.wait_for_url("**/inbox")
    expect(page.locator("#flash")).to_contain_text("Sync is on for")
