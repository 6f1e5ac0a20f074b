"""Who talks in the Notify API, and how each proves it to the other.

Spec: clients/notify/notify-authentication.md; protocol.md, sections 3 and 3.1.

A wallet signs with its identity key; a CACAO ties that key to the account. A dapp (its
Notify server on its behalf) signs with the authentication key of its did.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.authorization import authorization_of
from walletconnect.identity.did import (
    DID_WEB,
    AccountId,
    AppUrl,
    account_of,
    is_did_web,
)
from walletconnect.identity.jwt import DidJwt
from walletconnect.json_values import malformed
from walletconnect.notify.answers import token_of_request
from walletconnect.notify.claims import (
    DeleteAuth,
    SubscriptionAuth,
    UpdateAuth,
)
from walletconnect.notify.server_subscription import ServerSubscription

if TYPE_CHECKING:
    from collections.abc import Collection

    from walletconnect.crypto.keys import KeyPair, SymKey
    from walletconnect.crypto.signing import IdentityKey
    from walletconnect.identity.cacao import Cacao
    from walletconnect.json_values import JsonObject
    from walletconnect.relay.methods import Method
    from walletconnect.relay.rpc import JsonRpcRequest


@dataclass(frozen=True, slots=True)
class WalletIdentity:
    """A wallet's voice: the account, its identity key here, and the key server."""

    account: AccountId
    key: IdentityKey
    keys_server_url: str


@dataclass(frozen=True, slots=True)
class DappIdentity:
    """A dapp's voice, held by its Cast Server.

    `url` is where the dapp lives, `key_pair_x` what its did.json offers for subscribing.
    """

    url: AppUrl
    key: IdentityKey
    key_pair_x: KeyPair
    allowed_keys_servers: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What a dapp is told about an account."""

    event: Literal["subscribed", "unsubscribed"]
    account: AccountId
    dapp_url: str

    def to_value(self, webhook_id: str) -> JsonObject:
        return {
            "id": webhook_id,
            "event": self.event,
            "account": str(self.account),
            "dappUrl": self.dapp_url,
        }


@dataclass(frozen=True, slots=True)
class ClaimedIdentity:
    """Who a token says it is from, and the key server that it says knows them.

    Nothing is proven yet: this is what has to be looked up before `read_auth`.
    """

    did: str
    keys_server_url: str


def claimed_identity(
    request: JsonRpcRequest, method: Method, *, allowed: Collection[str]
) -> ClaimedIdentity:
    """The identity to look up for `request`; a key server outside `allowed` is refused."""
    jwt = DidJwt.parse(token_of_request(request, method))
    keys_server_url = jwt.claims.get("ksu")
    if not isinstance(keys_server_url, str):
        raise malformed("claim ksu")
    if keys_server_url not in allowed:
        raise RemoteProtocolError(ErrorCode.MISMATCH, "claim ksu does not fit")
    return ClaimedIdentity(jwt.iss, keys_server_url)


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
    """A wallet's token, verified to the end, and the account behind it.

    `identity` is what the key server keeps for the token's `iss`. The account comes from
    there: in August a delete names none.
    """
    auth = act.read(
        token_of_request(request, method),
        now=now,
        aud=dapp.key.did,
        ksu=dapp.allowed_keys_servers,
    )
    require_app(auth.app, str(dapp.url))
    account = identity.account
    if not isinstance(auth, DeleteAuth):
        account = auth.account
    elif is_did_web(auth.app):
        account = account_of(auth.sub)
    identity.vouch_for(auth.iss, account, now=now)
    require_authorization(identity, auth.app)
    return auth, account


def require_app(app: str, url: str) -> None:
    """The claim `app` means the dapp at `url`, in whichever spelling."""
    if app != url and not AppUrl.parse(url).is_named_by(app):
        raise RemoteProtocolError(ErrorCode.MISMATCH, "claim app does not fit")


def require_authorization(identity: Cacao, app: str) -> None:
    """In the later generation the account must have authorized the key for `app`.

    August knows no such permission. But a key that was authorized for certain apps may
    not get around that by August's words.
    """
    authorization = authorization_of(identity)
    if is_did_web(app):
        authorization.require(AppUrl.of_did(app).domain)
    elif authorization.domains:
        authorization.require(AppUrl.parse(app).domain)


def require_account(account: AccountId, expected: AccountId) -> None:
    """`account` may act on a subscription of `expected`."""
    if not account.same_as(expected):
        raise RemoteProtocolError(
            ErrorCode.MISMATCH, "the subscription is another account's"
        )


def require_newer(iat: int, last_iat: int | None) -> None:
    """A request must not be older than what the account said last."""
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
    """A subscription as `sbs` tells it, with the domain as the client wrote it.

    The later client looks for the element whose did:web equals the answer's `app`.
    """
    return ServerSubscription(
        app_domain=auth.app.removeprefix(DID_WEB),
        app_authentication_key=dapp.key.did,
        sym_key=sym_key,
        account=auth.account,
        scope=scope,
        expiry=expiry,
    )
