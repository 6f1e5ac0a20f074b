"""What differs between the two protocol versions.

v0 is the protocol of August 2023, v1 the one of 2024 (claim `mjv` "1"). A token shows its
version in the claim `app`: a URL in v0, a did:web in v1; an answer has the version of its
request. Everything else in this package is the same for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.authorization import authorization_of
from walletconnect.identity.did import AppUrl, account_of, is_did_web
from walletconnect.notify.claims import DELETE_REASON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from walletconnect.crypto.keys import SymKey
    from walletconnect.identity.cacao import Cacao
    from walletconnect.identity.did import AccountId
    from walletconnect.notify.server_subscription import ServerSubscription


class Dialect(ABC):
    mjv: ClassVar[str | None]
    # Whether the server notifies wallets of an ended subscription by wc_notifyDelete. Those
    # of v1 get the list of the remaining ones.
    has_server_deletes: ClassVar[bool]
    # Whether the server stores which notifications are read.
    has_read_state: ClassVar[bool]

    @abstractmethod
    def app(self, url: str) -> str:
        """The claim `app` for the dapp at `url`."""

    @abstractmethod
    def delete_sub(self, account: AccountId) -> str:
        """The claim `sub` of a deleteAuth."""

    @abstractmethod
    def deleting_account(self, sub: str, identity: Cacao) -> AccountId:
        """The account that a deleteAuth is about."""

    @abstractmethod
    def response_sub(self, account_did: str, v0_sub: str) -> str:
        """The claim `sub` of a responseAuth; `v0_sub` depends on the request."""

    @abstractmethod
    def require_response_sub(self, sub: str, account: AccountId, v0_sub: str) -> None:
        """Raise if an answer is about another account, or another request."""

    @abstractmethod
    def subscription_list(
        self, subscriptions: Sequence[ServerSubscription]
    ) -> tuple[ServerSubscription, ...] | None:
        """The claim `sbs` of a responseAuth."""

    @abstractmethod
    def subscription_key(self, derived: SymKey, known: SymKey | None) -> SymKey:
        """The key P of a subscription: derived with Z, or the one the account has."""

    @abstractmethod
    def require_authorization(self, identity: Cacao, app: str) -> None:
        """Raise unless the account allows the key of `identity` to manage `app`."""

    @abstractmethod
    def message_tail(self, account_did: str, subscription_hash: str) -> str:
        """The claims of a messageAuth that name its receiver, as JSON text."""


class _V0(Dialect):
    mjv = None
    has_server_deletes = True
    has_read_state = False

    def app(self, url: str) -> str:
        return url

    def delete_sub(self, account: AccountId) -> str:
        return DELETE_REASON

    def deleting_account(self, sub: str, identity: Cacao) -> AccountId:
        return identity.account

    def response_sub(self, account_did: str, v0_sub: str) -> str:
        return v0_sub

    def require_response_sub(self, sub: str, account: AccountId, v0_sub: str) -> None:
        if sub != v0_sub:
            raise RemoteProtocolError(ErrorCode.MISMATCH, "claim sub does not fit")

    def subscription_list(
        self, subscriptions: Sequence[ServerSubscription]
    ) -> tuple[ServerSubscription, ...] | None:
        return None

    def subscription_key(self, derived: SymKey, known: SymKey | None) -> SymKey:
        return derived

    def require_authorization(self, identity: Cacao, app: str) -> None:
        # v0 has no permissions. But a key that was authorized for certain apps may not
        # manage others by writing v0 tokens.
        authorization = authorization_of(identity)
        if authorization.domains:
            authorization.require(AppUrl.parse(app).domain)

    def message_tail(self, account_did: str, subscription_hash: str) -> str:
        return f',"aud":"{account_did}","sub":"{subscription_hash}"}}'


class _V1(Dialect):
    mjv = "1"
    has_server_deletes = False
    has_read_state = True

    def app(self, url: str) -> str:
        return AppUrl.parse(url).did

    def delete_sub(self, account: AccountId) -> str:
        return account.did

    def deleting_account(self, sub: str, identity: Cacao) -> AccountId:
        return account_of(sub)

    def response_sub(self, account_did: str, v0_sub: str) -> str:
        return account_did

    def require_response_sub(self, sub: str, account: AccountId, v0_sub: str) -> None:
        if not account_of(sub).same_as(account):
            raise RemoteProtocolError(ErrorCode.MISMATCH, "claim sub does not fit")

    def subscription_list(
        self, subscriptions: Sequence[ServerSubscription]
    ) -> tuple[ServerSubscription, ...] | None:
        return tuple(subscriptions)

    def subscription_key(self, derived: SymKey, known: SymKey | None) -> SymKey:
        return known or derived

    def require_authorization(self, identity: Cacao, app: str) -> None:
        authorization_of(identity).require(AppUrl.of_did(app).domain)

    def message_tail(self, account_did: str, subscription_hash: str) -> str:
        return f',"sub":"{account_did}"}}'


V0: Final[Dialect] = _V0()
V1: Final[Dialect] = _V1()


def dialect_of(app: str) -> Dialect:
    """The version of a token with the claim `app`."""
    return V1 if is_did_web(app) else V0
