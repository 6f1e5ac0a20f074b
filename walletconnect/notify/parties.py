"""The two sides of the Notify API and how each is authenticated.

Spec: clients/notify/notify-authentication.md. A wallet signs with its identity key; a CACAO
ties that key to the account. A dapp (its Notify server on its behalf) signs with the
authentication key of its did.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.did import DID_WEB, AccountId, AppUrl
from walletconnect.identity.jwt import DidJwt
from walletconnect.json_values import malformed
from walletconnect.notify.answers import token_of_request
from walletconnect.notify.claims import (
    DeleteAuth,
    SubscriptionAuth,
    UpdateAuth,
)
from walletconnect.notify.dialect import dialect_of
from walletconnect.notify.server_subscription import ServerSubscription

if TYPE_CHECKING:
    from collections.abc import Collection

    from walletconnect.crypto.keys import KeyPair, SymKey
    from walletconnect.crypto.signing import IdentityKey
    from walletconnect.identity.cacao import Cacao
    from walletconnect.relay.methods import Method
    from walletconnect.relay.rpc import JsonRpcRequest


@dataclass(frozen=True, slots=True)
class WalletIdentity:
    """What a wallet signs with; `keys_server_url` has the CACAO of `key`."""

    account: AccountId
    key: IdentityKey
    keys_server_url: str


@dataclass(frozen=True, slots=True)
class DappIdentity:
    """What a Cast Server signs and decrypts with on behalf of the dapp at `url`.

    `key_pair_x` is the key agreement key of the dapp's did.json.
    """

    url: AppUrl
    key: IdentityKey
    key_pair_x: KeyPair
    allowed_keys_servers: frozenset[str] = field(default_factory=frozenset)
    # The same dapp with the keys that these replaced, or that will replace them.
    others: tuple[DappIdentity, ...] = ()

    def addressed_by(self, aud: object) -> DappIdentity:
        """The identity that a token's `aud` names: it answers, as the wallet expects."""
        named = (each for each in self.others if each.key.did == aud)
        return self if self.key.did == aud else next(named, self)

    def on_topic(self, topic: str) -> DappIdentity:
        """The identity whose subscribe topic this is."""
        named = (each for each in self.others if each.key_pair_x.topic == topic)
        return self if self.key_pair_x.topic == topic else next(named, self)


class WebhookEvent(StrEnum):
    """The events that a dapp's webhook receives."""

    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"
    # Ours: sent on request only, so that a dapp can try its endpoint.
    TEST = "test"


@dataclass(frozen=True, slots=True)
class ClaimedIdentity:
    """The signer that a token names, and the Keys Server to ask for its CACAO.

    Nothing is proven yet: this is what has to be looked up before `read_auth`.
    """

    did: str
    keys_server_url: str
    aud: str = ""


def claimed_identity(
    request: JsonRpcRequest, method: Method, *, allowed: Collection[str]
) -> ClaimedIdentity:
    """The identity to look up for `request`; Keys Servers outside `allowed` are refused."""
    jwt = DidJwt.parse(token_of_request(request, method))
    keys_server_url = jwt.claims.get("ksu")
    if not isinstance(keys_server_url, str):
        raise malformed("claim ksu")
    if keys_server_url not in allowed:
        raise RemoteProtocolError(ErrorCode.MISMATCH, "claim ksu does not fit")
    aud = jwt.claims.get("aud")
    return ClaimedIdentity(
        jwt.iss, keys_server_url, aud if isinstance(aud, str) else ""
    )


WalletAuth = TypeVar("WalletAuth", SubscriptionAuth, UpdateAuth, DeleteAuth)


def read_auth(
    act: type[WalletAuth],
    request: JsonRpcRequest,
    method: Method,
    *,
    dapp: DappIdentity,
    identity: Cacao,
    now: int,
) -> tuple[WalletAuth, AccountId]:
    """A wallet's token, fully verified, and the account that it acts for.

    `identity` is the CACAO of the token's `iss`, from the Keys Server.
    """
    auth = act.read(
        token_of_request(request, method),
        now=now,
        aud=dapp.key.did,
        ksu=dapp.allowed_keys_servers,
    )
    require_app(auth.app, str(dapp.url))
    dialect = dialect_of(auth.app)
    if isinstance(auth, DeleteAuth):
        account = dialect.deleting_account(auth.sub, identity)
    else:
        account = auth.account
    identity.verify_signer(auth.iss, account, now=now)
    dialect.require_authorization(identity, auth.app)
    return auth, account


def require_app(app: str, url: str) -> None:
    """Raise unless the claim `app` names the dapp at `url`."""
    if app != url and not AppUrl.parse(url).is_named_by(app):
        raise RemoteProtocolError(ErrorCode.MISMATCH, "claim app does not fit")


def require_account(account: AccountId, expected: AccountId) -> None:
    """Raise unless `account` is the `expected` one, on whichever chain."""
    if not account.same_as(expected):
        raise RemoteProtocolError(
            ErrorCode.MISMATCH, "the subscription is another account's"
        )


def require_newer(iat: int, last_iat: int | None) -> None:
    """Raise if the account has sent a newer request before this one arrived."""
    if last_iat is not None and iat < last_iat:
        raise RemoteProtocolError(
            ErrorCode.OUTDATED, "overtaken by a newer request of the account"
        )


def report_subscription(
    auth: SubscriptionAuth | UpdateAuth,
    dapp: DappIdentity,
    *,
    sym_key: SymKey,
    scope: tuple[str, ...],
    expiry: int,
) -> ServerSubscription:
    """The element of `sbs` for a subscription, with the domain as the client wrote it.

    The client of v1 looks for the element whose did:web equals the answer's `app`.
    """
    return ServerSubscription(
        app_domain=auth.app.removeprefix(DID_WEB),
        app_authentication_key=dapp.key.did,
        sym_key=sym_key,
        account=auth.account,
        scope=scope,
        expiry=expiry,
    )
