"""Alice with two devices, Bob, and Charlie who must see nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from accounts.models import Account, Device, User
from common import clock
from walletconnect.crypto.ethereum import address_of, sign_eip191
from walletconnect.identity.did import AccountId
from walletconnect.sync.derivation import sync_message


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a wallet, an account and some devices."""

    user: User
    account: Account
    devices: list[Device]
    private_key: bytes = field(repr=False)

    @property
    def device(self) -> Device:
        return self.devices[0]

    @property
    def sync_signature(self) -> str:
        account = AccountId.parse(self.account.address)
        return sign_eip191(sync_message(account), self.private_key)


def make_person(name: str, *, devices: int = 1) -> Person:
    private_key = name.encode().ljust(32, b"\x01")
    user = User.objects.create_user(username=name)
    account = Account.objects.create(
        user=user,
        address=f"eip155:1:{address_of(private_key)}",
        created_at=clock.now(),
    )
    made = [
        add_device(user, f"{name}'s browser {number}")
        for number in range(1, devices + 1)
    ]
    return Person(user, account, made, private_key)


def add_device(user: User, name: str) -> Device:
    now = clock.now()
    return Device.objects.create(
        user=user,
        name=name,
        created_at=now - timedelta(days=1),
        proved_at=now,
        last_seen_at=now,
    )
