"""Alice with two browsers, Bob, Charlie who must see nothing, and a dapp on a port.

Requests are sent as a browser sends them: cookies, forms with their tokens, redirects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.test import Client

from keychain.services import ensure_canary
from subscriptions.services import run_checks
from tests.people import ALICE, BOB, CHARLIE, CHROME_WINDOWS, FIREFOX_MAC, Wallet
from tests.subscriptions.conftest import subscribed as subscribe_at
from tests.subscriptions.world import Dapp, deliver
from tests.syncstore.conftest import archive  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from accounts.models import Account, Device, User

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Browser:
    """A browser session: one device once it has signed in. Forms need their token."""

    def __init__(self, user_agent: str = FIREFOX_MAC) -> None:
        self.client = Client(
            enforce_csrf_checks=True,
            HTTP_HOST="localhost:8000",
            HTTP_USER_AGENT=user_agent,
            HTTP_ACCEPT="text/html",
            raise_request_exception=True,
        )
        self.token = ""

    def get(self, path: str, **headers):
        return self._read(self.client.get(path, headers=headers))

    def post(self, path: str, headers=None, **fields):
        form = {"csrfmiddlewaretoken": self.token, **fields}
        return self._read(self.client.post(path, form, headers=headers or {}))

    def press(self, path: str, **fields):
        """Send a form as htmx does; the response contains rows instead of a redirect."""
        return self.post(path, headers={"HX-Request": "true"}, **fields)

    def follow(self, response):
        while response.status_code in (301, 302):
            response = self.get(response.headers["Location"])
        return response

    def _read(self, response):
        if not response.streaming and (found := TOKEN.search(response.text)):
            self.token = found.group(1)
        return response

    # Signing in ---------------------------------------------------------------------

    def begin(self, address: str, **fields):
        self.get("/signin")
        return self.post(
            "/signin/begin", **({"address": address, "signer": "elsewhere"} | fields)
        )

    def sign(self, wallet: Wallet, path: str = "/signin/text/1") -> str:
        return wallet.sign(self.get(path).text)

    def sign_in(self, wallet: Wallet, *, sync: bool = False) -> Browser:
        """Sign in without the pages with the texts: drawing their QR codes takes as long
        as the rest. ``test_signing_in.py`` walks through them."""
        assert self.begin(wallet.address).status_code == 302
        there = self.post("/signin/prove", signature=self.sign(wallet))
        assert there.status_code == 302, there.text
        # Signing in changes the token.
        self.token = self.client.cookies[settings.CSRF_COOKIE_NAME].value
        if sync:
            path = there.headers["Location"]
            account = path.partition("account=")[2]
            signature = self.sign(wallet, f"/signin/text/2?account={account}")
            assert self.post(path, signature=signature).status_code == 302
        return self

    @property
    def session_key(self) -> str:
        return self.client.cookies[settings.SESSION_COOKIE_NAME].value

    @property
    def device(self) -> Device:
        from accounts.services import device_of_session

        device = device_of_session(self.session_key)
        assert device is not None
        return device


@dataclass
class Person:
    """A user with browsers, in the shape that ``tests.subscriptions.world.Dapp`` expects."""

    wallet: Wallet
    browsers: list[Browser] = field(default_factory=list)

    @property
    def browser(self) -> Browser:
        return self.browsers[0]

    # Cached: asynchronous tests must not query the database.
    @cached_property
    def account(self) -> Account:
        return self.wallet.row()

    @cached_property
    def user(self) -> User:
        return self.account.user

    @property
    def device(self) -> Device:
        return self.browser.device

    def get(self, path: str, **headers):
        return self.browser.get(path, **headers)

    def post(self, path: str, **fields):
        return self.browser.post(path, **fields)

    def press(self, path: str, **fields):
        return self.browser.press(path, **fields)

    def follow(self, response):
        return self.browser.follow(response)

    def check(self, address: str):
        """The page of a dapp after a worker has checked it."""
        return self.checked(self.get(f"/discover/dapp?{urlencode({'url': address})}"))

    def checked(self, response):
        while response.status_code == 302 and "/check/" not in response["Location"]:
            response = self.get(response["Location"])
        run_checks()
        return self.follow(response)


@pytest.fixture(autouse=True)
def open_keychain(db, redis_client):
    ensure_canary()


def known(person: Person) -> Person:
    assert person.user == person.account.user
    return person


@pytest.fixture
def alice() -> Person:
    browsers = [Browser(FIREFOX_MAC), Browser(CHROME_WINDOWS)]
    return known(Person(ALICE, [each.sign_in(ALICE, sync=True) for each in browsers]))


@pytest.fixture
def bob() -> Person:
    return known(Person(BOB, [Browser().sign_in(BOB)]))


@pytest.fixture
def charlie() -> Person:
    return known(Person(CHARLIE, [Browser().sign_in(CHARLIE)]))


@pytest.fixture
def stranger() -> Browser:
    return Browser()


@pytest.fixture
def dapp():
    made = Dapp()
    made.config = {
        "version": 1,
        "name": "Acme DAO",
        "description": "Proposals and alerts",
        "types": [
            {"name": "alerts", "description": "Urgent"},
            {"name": "news", "description": "What is new"},
        ],
    }
    yield made
    made.close()


@pytest.fixture
def subscription(alice, dapp):
    return subscribe_at(alice, dapp)


@pytest.fixture
def notify(alice, dapp, subscription):
    """``notify(title="…")``: the dapp sends Alice a notification, which arrives."""
    from subscriptions.models import NotifyMessageRecord

    def notify(**texts):
        (row,) = deliver(dapp.notification(alice.account, **texts))
        assert row.state == "handled", row.reason
        return NotifyMessageRecord.objects.order_by("-pk")[0]

    return notify


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of(response) -> str:
    """The text of a page without its markup."""
    parser = _Text()
    parser.feed(response.text)
    return " ".join(" ".join(parser.parts).split())
