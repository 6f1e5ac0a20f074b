"""Alice with two devices (W1, Wx), Bob, and Charlie, who must see nothing.

Wallets are real keys that sign; signing in goes through the services, as a page does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.conf import settings

from accounts import services as accounts
from accounts.models import Account, Device, SignInRequest, User
from accounts.sessions import SessionStore
from identity import services as identity
from walletconnect.crypto.ethereum import address_of, sign_eip191
from walletconnect.identity.did import AccountId
from walletconnect.sync.derivation import sync_message

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase

ORIGIN = "http://localhost:8000"
FIREFOX_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:120.0) Gecko/20100101 Firefox/120.0"
CHROME_WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)


@dataclass(frozen=True)
class Wallet:
    """A wallet: a key that signs whatever it is shown."""

    private_key: bytes = field(repr=False)

    @property
    def address(self) -> str:
        return address_of(self.private_key)

    @property
    def account(self) -> str:
        return f"eip155:1:{self.address}"

    @property
    def sync_signature(self) -> str:
        return self.sign(sync_message(AccountId.parse(self.account)))

    def sign(self, message: str) -> str:
        return sign_eip191(message, self.private_key)

    def row(self) -> Account:
        return Account.objects.at(self.account).get()


ALICE = Wallet(b"\xa1" * 32)
ALICE_SECOND = Wallet(b"\xa2" * 32)
BOB = Wallet(b"\xb0" * 32)
CHARLIE = Wallet(b"\xc0" * 32)


def new_session() -> SessionBase:
    session = SessionStore()
    session.create()
    return session


def begin(wallet: Wallet, session_key: str, **changes: object) -> SignInRequest:
    arguments = {"account": wallet.account, "origin": settings.PUBLIC_URL} | changes
    return identity.begin_sign_in(session_key, **arguments)


def sign_in(wallet: Wallet, *, user_agent: str = FIREFOX_MAC) -> Device:
    """A new browser session, signed in with ``wallet``; ``device.session`` is its key."""
    anonymous = new_session()
    request = begin(wallet, anonymous.session_key)
    device = identity.complete_sign_in(
        anonymous.session_key,
        nonce=request.nonce,
        signature=wallet.sign(request.message),
        user_agent=user_agent,
    )
    session = new_session()
    accounts.bind_session(device, session.session_key)
    device.session = session.session_key
    return device


def link(wallet: Wallet, device: Device) -> Account:
    """Add ``wallet``'s account to the user who is signed in on ``device``."""
    request = begin(wallet, device.session, user=device.user)
    identity.complete_sign_in(
        device.session,
        nonce=request.nonce,
        signature=wallet.sign(request.message),
        user_agent="",
        device=device,
    )
    return wallet.row()


@dataclass(frozen=True, slots=True)
class Person:
    """A user who has signed in with a wallet in some browsers."""

    user: User
    account: Account
    devices: list[Device]
    wallet: Wallet

    @property
    def device(self) -> Device:
        return self.devices[0]

    @property
    def sync_signature(self) -> str:
        return self.wallet.sync_signature


def sign_in_person(name: str, *, devices: int = 1) -> Person:
    """The same name is the same person, with more devices."""
    wallet = Wallet(name.encode().ljust(32, b"\x01"))
    signed_in = [sign_in(wallet) for _ in range(devices)]
    account = wallet.row()
    return Person(account.user, account, signed_in, wallet)
