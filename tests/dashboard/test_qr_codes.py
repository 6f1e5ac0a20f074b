"""QR codes: drawn on the server, named for screen readers, readable again."""

from __future__ import annotations

import re

import pytest

from dashboard.pages.qr import MAX_TEXT_LENGTH, qr_svg
from tests.dashboard.conftest import Browser
from tests.people import ALICE

PAIRING = (
    f"wc:{'ab' * 32}@2?relay-protocol=irn&symKey={'cd' * 32}&expiryTimestamp=1790000000"
)


def codes(page: str) -> list[str]:
    return re.findall(r'<svg role="img"[^>]*class="qr"[^>]*><title>([^<]+)<', page)


def test_a_code_is_an_image_with_a_name_and_without_styles():
    drawn = qr_svg("https://example.com/?a=1&b=<2>", 'The "first" <code>')
    assert codes(drawn) == ['The "first" &lt;code&gt;']
    assert "style=" not in drawn
    assert "example.com" not in drawn


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="too many"):
        qr_svg("x" * (MAX_TEXT_LENGTH + 1), "long")


def test_the_pages_have_their_codes(alice, dapp):
    assert codes(alice.get("/devices").text) == ["QR code that opens the sign-in page"]
    browser = Browser()
    page = browser.follow(browser.begin(ALICE.address))
    assert codes(page.text) == ["QR code of the text to sign"]


def test_the_code_of_a_pairing_is_drawn_and_kept_nowhere():
    browser = Browser()
    browser.get("/signin/phone")
    drawn = browser.post("/signin/phone/code", uri=PAIRING)
    assert drawn.headers["Content-Type"].startswith("image/svg+xml")
    assert drawn.headers["Cache-Control"] == "no-store"
    assert codes(drawn.text) == ["QR code for your wallet"]


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://example.com/",
        "javascript:alert(1)",
        PAIRING.replace("@2", "@1"),
        PAIRING + "\n",
        PAIRING + "&x=<svg>",
        PAIRING + "&x=" + "y" * 1_000,
    ],
)
def test_nothing_else_is_drawn(uri):
    browser = Browser()
    browser.get("/signin/phone")
    refused = browser.post("/signin/phone/code", uri=uri)
    assert refused.status_code == 422
    assert "svg" not in refused.text


def test_only_the_pages_of_phone_wallets_may_connect_to_the_relay(settings):
    settings.PHONE_RELAY_URL = "wss://relay.example:444/path"
    browser = Browser()

    def policy(path: str) -> str:
        header = browser.get(path).headers["Content-Security-Policy"]
        return re.search(r"connect-src ([^;]+)", header)[1]

    allowed = "'self' wss://relay.example:444"
    assert policy("/signin/phone") == allowed
    assert policy("/signin/phone/end") == allowed
    assert policy("/signin") == "'self'"
    browser.begin(ALICE.address, signer="phone")
    assert policy("/signin/prove") == allowed
    browser.begin(ALICE.address, signer="elsewhere")
    assert policy("/signin/prove") == "'self'"


@pytest.mark.parametrize(
    ("environment", "relay"),
    [
        ({}, "ws://localhost:8080"),
        ({"NOTIFYWEB_RELAY_PUBLIC_URL": "wss://r.example"}, "wss://r.example"),
        ({"PROJECT_ID": "abc"}, "wss://relay.walletconnect.org"),
        ({"PROJECT_ID": "abc", "RELAY_URL": "wss://o.example"}, "wss://o.example"),
    ],
)
def test_the_relay_of_phone_wallets_follows_the_settings(environment, relay):
    import subprocess
    import sys

    from tests.system import BASE, clean_environment

    program = "import notifyweb.settings as s; print(s.PHONE_RELAY_URL)"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=BASE,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == relay
