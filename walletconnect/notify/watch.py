"""v1: the server holds the subscriptions and sends every device the full list.

Spec: clients/notify/notify-watch-subscriptions.md and following, of 2024. v1 has no Sync
store: a device *watches* at the Notify server and receives the full list of subscriptions,
keys included, at once and whenever it changes.

    wallet         request_watch            first contact, like a subscribe request
    Notify server  answer_watch             the watcher to remember, the list
    Notify server  announce_changes         the list again, to each `watchers_to_notify`
    wallet         read_subscriptions       the list, verified

Watch request and answers share a key W of the device's key pair and the server's; its
topic carries the announcements too.

Departures: the released client sends `wc_notifyWatchSubscription` without the plural s and
checks no signature in an announcement. Dispatch goes by tag, so the name does not matter;
`read_subscriptions` verifies everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from walletconnect.crypto.keys import Topic, derive_sym_key, topic_of
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.authorization import authorization_of
from walletconnect.identity.did import AccountId, AppUrl, is_did_web
from walletconnect.json_values import malformed
from walletconnect.notify.answers import (
    publish_request,
    publish_result,
    token_of_answer,
    token_of_request,
)
from walletconnect.notify.dialect import V1
from walletconnect.notify.methods import CHANGED, WATCH
from walletconnect.notify.parties import require_account
from walletconnect.notify.watch_claims import (
    SubscriptionsChangedAuth,
    WatchSubscriptionsAuth,
    WatchSubscriptionsResponseAuth,
)
from walletconnect.relay.methods import DAY
from walletconnect.relay.rpc import JsonRpcRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from walletconnect.crypto.keys import KeyPair, SymKey
    from walletconnect.crypto.signing import IdentityKey
    from walletconnect.identity.cacao import Cacao
    from walletconnect.identity.did import DidWebDocument
    from walletconnect.notify.parties import WalletIdentity
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.relay.messages import Publication
    from walletconnect.relay.rpc import JsonRpcError, JsonRpcResult, RpcId

WATCHER_LIFE: Final = DAY


@dataclass(frozen=True, slots=True)
class NotifyServer:
    """What a Notify server signs and decrypts with on its own behalf."""

    key: IdentityKey
    key_pair: KeyPair
    allowed_keys_servers: frozenset[str]


@dataclass(frozen=True, slots=True)
class PendingWatch:
    """What the wallet keeps to verify the answer and every announcement after it."""

    request_id: RpcId
    account: AccountId
    identity_did: str
    server_did: str


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """`publish` the request, after subscribing to `sym_key.topic`."""

    publish: Publication
    sym_key: SymKey = field(repr=False)
    pending: PendingWatch


def request_watch(
    document: DidWebDocument,
    wallet: WalletIdentity,
    *,
    key_pair: KeyPair,
    app: str | None,
    request_id: int,
    iv: bytes,
    now: int,
    mjv: str | None = V1.mjv,
) -> WatchRequest:
    """Ask the Notify server of `document` for the subscriptions to `app`, or for all.

    Without `mjv` the server also announces the changes of this identity itself, for a
    wallet that does not read the list in the answers to its own requests.
    """
    token = WatchSubscriptionsAuth(
        iat=now,
        exp=now + WATCH.ttl,
        iss=wallet.key.did,
        mjv=mjv,
        sub=wallet.account.did,
        aud=document.authentication_did,
        ksu=wallet.keys_server_url,
        app=app,
    ).sign(wallet.key)
    sym_key = derive_sym_key(key_pair, document.key_agreement)
    publish = publish_request(
        WATCH,
        token,
        request_id=request_id,
        topic=topic_of(document.key_agreement),
        sym_key=sym_key,
        sender=key_pair.public_key,
        iv=iv,
    )
    pending = PendingWatch(
        request_id=request_id,
        account=wallet.account,
        identity_did=wallet.key.did,
        server_did=document.authentication_did,
    )
    return WatchRequest(publish, sym_key, pending)


@dataclass(frozen=True, slots=True)
class Watcher:
    """A device that receives lists. A new watch of the same `identity_did` replaces it."""

    identity_did: str
    account: AccountId
    domain: str | None
    sym_key: SymKey = field(repr=False)
    mjv: str | None
    expires_at: int

    @property
    def topic(self) -> Topic:
        return self.sym_key.topic

    def covers(self, domain: str) -> bool:
        return self.domain is None or self.domain == domain

    def visible(
        self, subscriptions: Iterable[ServerSubscription]
    ) -> tuple[ServerSubscription, ...]:
        """The part of the account's subscriptions that the watcher asked for."""
        return tuple(each for each in subscriptions if self.covers(each.app_domain))


@dataclass(frozen=True, slots=True)
class WatchAnswer:
    watcher: Watcher
    publish: Publication


def answer_watch(
    request: JsonRpcRequest,
    server: NotifyServer,
    *,
    topic: Topic,
    sender_public_key: bytes,
    identity: Cacao,
    subscriptions: Sequence[ServerSubscription],
    iv: bytes,
    now: int,
) -> WatchAnswer:
    """Accept a watcher, or raise. `subscriptions` are all those of the account."""
    if topic != server.key_pair.topic:
        raise RemoteProtocolError(ErrorCode.MISMATCH, "topic is not of this key")
    auth = WatchSubscriptionsAuth.read(
        token_of_request(request, WATCH),
        now=now,
        aud=server.key.did,
        ksu=server.allowed_keys_servers,
    )
    identity.verify_signer(auth.iss, auth.account, now=now)
    domain = None
    if auth.app is not None:
        if not is_did_web(auth.app):
            raise malformed("claim app")
        domain = AppUrl.of_did(auth.app).domain
    authorization_of(identity).require(domain)
    watcher = Watcher(
        identity_did=auth.iss,
        account=auth.account,
        domain=domain,
        sym_key=derive_sym_key(server.key_pair, sender_public_key),
        mjv=auth.mjv,
        expires_at=now + WATCHER_LIFE,
    )
    token = WatchSubscriptionsResponseAuth(
        iat=now,
        exp=now + WATCH.response_ttl,
        iss=server.key.did,
        mjv=auth.mjv,
        aud=auth.iss,
        sub=auth.sub,
        sbs=watcher.visible(subscriptions),
    ).sign(server.key)
    publish = publish_result(
        WATCH,
        {WATCH.result: token},
        request_id=request.id,
        sym_key=watcher.sym_key,
        iv=iv,
    )
    return WatchAnswer(watcher, publish)


def watchers_to_notify(
    watchers: Iterable[Watcher],
    account: AccountId,
    domain: str,
    *,
    source_did: str,
    now: int,
) -> list[Watcher]:
    """The watchers that receive a list after `account` changed its subscription to `domain`.

    The device `source_did` that caused it reads the change from its answer, except for the
    first clients of v1 (no `mjv` or "0"), which do not look there.
    """
    return [
        watcher
        for watcher in watchers
        if watcher.account.same_as(account)
        and watcher.covers(domain)
        and watcher.expires_at > now
        and (watcher.identity_did != source_did or watcher.mjv in (None, "0"))
    ]


def announce_changes(
    watcher: Watcher,
    server: NotifyServer,
    *,
    subscriptions: Iterable[ServerSubscription],
    request_id: int,
    iv: bytes,
    now: int,
) -> Publication:
    """The account's subscriptions as they are now, for one watcher."""
    token = SubscriptionsChangedAuth(
        iat=now,
        exp=now + CHANGED.ttl,
        iss=server.key.did,
        mjv=watcher.mjv,
        aud=watcher.identity_did,
        sub=watcher.account.did,
        sbs=watcher.visible(subscriptions),
    ).sign(server.key)
    return publish_request(
        CHANGED, token, request_id=request_id, sym_key=watcher.sym_key, iv=iv
    )


@dataclass(frozen=True, slots=True)
class SubscriptionList:
    """The full list at `iat` (seconds)."""

    iat: int
    subscriptions: tuple[ServerSubscription, ...]


def read_subscriptions(
    payload: JsonRpcRequest | JsonRpcResult | JsonRpcError,
    pending: PendingWatch,
    *,
    now: int,
) -> SubscriptionList:
    """The list in the answer to a watch, or in an announcement after it, or raise."""
    if isinstance(payload, JsonRpcRequest):
        auth: SubscriptionsChangedAuth | WatchSubscriptionsResponseAuth = (
            SubscriptionsChangedAuth.read(
                token_of_request(payload, CHANGED),
                now=now,
                iss=pending.server_did,
                aud=pending.identity_did,
            )
        )
    else:
        auth = WatchSubscriptionsResponseAuth.read(
            token_of_answer(payload, WATCH, request_id=pending.request_id),
            now=now,
            iss=pending.server_did,
            aud=pending.identity_did,
        )
    require_account(auth.account, pending.account)
    for subscription in auth.sbs:
        require_account(subscription.account, pending.account)
    return SubscriptionList(auth.iat, auth.sbs)
