"""Signing in with a phone wallet: Chromium and the published walletkit meet at our relay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.clients.conftest import npm_packages
from tests.clients.node import Scenario, iter_now
from tests.people import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system import System

# A fixture of the clients' tests.
__all__ = ["npm_packages"]

pytestmark = [pytest.mark.system, pytest.mark.browser]

ME = Wallet(b"\x31" * 32)
OTHER = Wallet(b"\x32" * 32)


class Phone:
    """The wallet app: does what it is told, and says what it was asked."""

    def __init__(self, running: Scenario) -> None:
        self._running = running

    def do(self, **orders: object) -> None:
        if "scan" in orders:
            orders = {"accounts": None, "methods": None} | orders
        self._running.tell(json.dumps(orders))

    def asked(self, what: str) -> dict:
        return self._running.wait_for(what)


@pytest.fixture(scope="module")
def running_wallet(system: System, npm_packages: None) -> Iterator[Scenario]:
    """One for all tests: Node takes seconds to load the packages."""
    environment = {
        "TARGET_RELAY_URL": system.relay_url,
        "WALLET_KEY": f"0x{ME.private_key.hex()}",
    }
    with Scenario("phone-wallet", (), environment) as running:
        running.wait_for("ready")
        yield running


@pytest.fixture
def phone(running_wallet: Scenario) -> Phone:
    # What it still said in the test before.
    list(iter_now(running_wallet._lines))
    return Phone(running_wallet)


@pytest.fixture
def page(system, window):
    return window(base_url=system.base_url)


def scan(page) -> str:
    """Open the page of phone wallets; what the wallet's camera sees."""
    page.goto("/signin")
    page.get_by_role("link", name="Use a phone wallet").click()
    page.get_by_role("button", name="Show the code").click()
    code = page.get_by_role("img", name="QR code for your wallet")
    expect(code).to_be_visible()
    uri = page.locator("#phone-link").get_attribute("href")
    assert uri.startswith("wc:")
    return uri


def test_a_phone_wallet_signs_both_texts_and_its_session_ends(page, phone):
    phone.do(scan=scan(page), proposal="approve", requests="sign")
    proposal = phone.asked("proposal")
    assert proposal["methods"] == ["personal_sign"]
    assert proposal["chains"] == ["eip155:1"]
    # The first text is asked for at once, the second waits for a press.
    page.wait_for_url("**/signin/share*")
    request = phone.asked("request")
    assert "wants you to sign in" in request["text"]
    assert request["address"] == ME.address
    page.get_by_role("button", name="Sign on your phone").click()
    assert "I authorize this app to sync" in phone.asked("request")["text"]
    page.wait_for_url("**/inbox")
    expect(page.locator("#flash")).to_contain_text("Sync is on for")
    phone.asked("ended")
    assert page.evaluate("sessionStorage.length") == 0


def test_skipping_the_second_text_ends_the_session_too(page, phone):
    phone.do(scan=scan(page), proposal="approve", requests="sign")
    page.wait_for_url("**/signin/share*")
    page.get_by_role("link", name="Skip for now").first.click()
    phone.asked("ended")
    page.wait_for_url("**/inbox")


def test_a_wallet_that_declines_the_pairing_gets_another_chance(page, phone):
    phone.do(scan=scan(page), proposal="reject")
    problem = page.locator("#phone-problem")
    expect(problem).to_contain_text("You declined in the wallet. Nothing was signed.")
    page.get_by_role("button", name="Make a new code").click()
    expect(page.locator("#phone-code")).to_be_visible()
    uri = page.locator("#phone-link").get_attribute("href")
    phone.do(scan=uri, proposal="approve", requests="wait")
    page.wait_for_url("**/signin/prove")


@pytest.mark.parametrize(
    ("requests", "told"),
    [
        ("reject", "You declined in the wallet. Nothing was signed."),
        ("unable", "This wallet does not sign texts (personal_sign)."),
    ],
)
def test_a_text_that_is_not_signed_can_be_asked_for_again(page, phone, requests, told):
    phone.do(scan=scan(page), proposal="approve", requests=requests)
    page.wait_for_url("**/signin/prove")
    expect(page.locator("#sign-note")).to_contain_text(told)
    phone.do(requests="sign")
    page.get_by_role("button", name="Sign on your phone").click()
    page.wait_for_url("**/signin/share*")


def test_a_session_that_the_wallet_ends_can_be_made_again(page, phone):
    phone.do(scan=scan(page), proposal="approve", requests="leave")
    page.wait_for_url("**/signin/prove")
    expect(page.locator("#sign-note")).to_contain_text("The wallet ended the session")
    page.get_by_role("link", name="Connect the wallet again").click()
    expect(page.locator("#phone-code")).to_be_visible()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"methods": ["eth_sign"]}, "does not sign texts (personal_sign)"),
        (
            {"accounts": [f"eip155:10:{ME.address}"], "methods": ["eth_sign"]},
            "does not sign texts (personal_sign)",
        ),
    ],
)
def test_a_wallet_that_cannot_sign_texts_is_refused_in_words(page, phone, answer, told):
    phone.do(scan=scan(page), proposal="approve", **answer)
    expect(page.locator("#phone-problem")).to_contain_text(told)
    # The session that cannot be used ends with the next code.
    page.get_by_role("button", name="Make a new code").click()
    phone.asked("ended")
    expect(page.locator("#phone-code")).to_be_visible()


def test_an_account_on_another_chain_signs_the_same_text(page, phone):
    account = f"eip155:10:{ME.address}"
    phone.do(scan=scan(page), proposal="approve", requests="sign", accounts=[account])
    page.wait_for_url("**/signin/share*")
    assert phone.asked("request")["chain"] == "eip155:10"


def test_of_several_accounts_the_person_chooses(page, phone):
    accounts = [f"eip155:1:{OTHER.address}", f"eip155:1:{ME.address}"]
    phone.do(scan=scan(page), proposal="approve", requests="sign", accounts=accounts)
    page.get_by_role("button", name=ME.address).click()
    page.wait_for_url("**/signin/share*")


def test_a_key_that_signs_for_another_account_is_refused(page, phone):
    account = f"eip155:1:{OTHER.address}"
    phone.do(scan=scan(page), proposal="approve", requests="sign", accounts=[account])
    expect(page.get_by_role("alert")).to_contain_text("Another account signed")


def test_a_relay_that_is_away_is_named(page, system):
    page.route_web_socket(system.relay_url + "/**", lambda socket: socket.close())
    page.goto("/signin/phone")
    page.get_by_role("button", name="Show the code").click()
    problem = page.locator("#phone-problem")
    told = f"The relay {system.relay_url} does not respond"
    expect(problem).to_contain_text(told, timeout=30_000)
    page.get_by_role("button", name="Make a new code").click()
    expect(page.locator("#phone-note")).to_contain_text("Connecting to the relay")


def test_a_client_that_cannot_be_loaded_is_explained_and_tried_again(page):
    client = "**/vendor/walletconnect.min.*"
    page.route(client, lambda route: route.abort())
    page.goto("/signin/phone")
    page.get_by_role("button", name="Show the code").click()
    problem = page.locator("#phone-problem")
    expect(problem).to_contain_text("could not load what connects to wallets")
    page.unroute(client)
    page.get_by_role("button", name="Make a new code").click()
    expect(page.locator("#phone-code")).to_be_visible()


def test_a_wallet_that_switches_accounts_is_noticed(page, phone):
    phone.do(scan=scan(page), proposal="approve", requests="wait")
    page.wait_for_url("**/signin/prove")
    phone.asked("request")
    phone.do(switch=f"eip155:1:{OTHER.address}")
    expect(page.locator("#sign-switched")).to_contain_text("Your wallet switched to")


def test_without_javascript_the_page_says_what_needs_it(system, window):
    page = window(base_url=system.base_url, java_script_enabled=False)
    page.goto("/signin/phone")
    expect(page.locator("main")).to_contain_text(
        "A phone wallet needs JavaScript in this browser"
    )
