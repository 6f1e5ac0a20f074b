"""Subscribing to a dapp: the twenty steps of `docs/protocol.md`, from top to bottom.

Spec: clients/notify/notify-subscribe.md. The waits cut the run in six:

     1       W1           locate_dapp              the address of the did:web document
     2 -  7  W1           request_subscription     the request, and the topic of its answer
     8 - 13  Cast Server  answer_subscription      the webhook, the key P, the answer
    14 - 17  W1           settle_subscription      the subscription
    18       W1           announce_subscription    the store entry for other devices
    19 - 20  Wx           adopt_subscription       the subscription on every other device

X is the dapp's key pair, Y the wallet's, Z the server's; S is the key of the answer, P the
key of the subscription.

Every function is deterministic: the same request with the same Z and iv yields the same
answer, byte for byte, which is what a message delivered twice has to get.

Departures: we publish (5) before we subscribe (7), the released client does it the other
way round. The relay keeps messages, so both work. In v1 the server keeps key and topic when
an account subscribes again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from walletconnect.crypto.keys import (
    SymKey,
    Topic,
    derive_sym_key,
    hash_text,
    topic_of,
)
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.did import AccountId, AppUrl, did_key
from walletconnect.notify.answers import (
    publish_request,
    publish_result,
    token_of_answer,
    token_of_request,
)
from walletconnect.notify.claims import (
    SubscriptionAuth,
    SubscriptionResponseAuth,
)
from walletconnect.notify.dialect import dialect_of
from walletconnect.notify.methods import SUBSCRIBE, SUBSCRIPTION_LIFE
from walletconnect.notify.parties import (
    WebhookEvent,
    read_auth,
    report_subscription,
    require_account,
    require_app,
    require_newer,
)
from walletconnect.notify.values import Metadata, NotifySubscription
from walletconnect.sync.store import StoreSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from walletconnect.crypto.keys import KeyPair
    from walletconnect.identity.cacao import Cacao
    from walletconnect.identity.did import DidWebDocument
    from walletconnect.notify.parties import DappIdentity, WalletIdentity
    from walletconnect.notify.scope import ScopeMap
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.relay.messages import Publication
    from walletconnect.relay.rpc import (
        JsonRpcError,
        JsonRpcRequest,
        JsonRpcResult,
        RpcId,
    )

# Room for a peer whose clock is off, and an end to subscriptions that never expire.
MAX_EXPIRY: Final = 2 * SUBSCRIPTION_LIFE


def locate_dapp(dapp_url: str) -> str:
    """The address of the document that holds key X; the caller fetches it."""
    return AppUrl.parse(dapp_url).well_known("did.json")  # step 1


@dataclass(frozen=True, slots=True)
class PendingSubscribe:
    """What W1 keeps while it waits for the answer; Y itself is in the keychain."""

    request_id: RpcId
    account: AccountId
    identity_did: str
    dapp_did: str
    response_topic: Topic
    metadata: Metadata
    scope: ScopeMap
    expires_at: int

    @property
    def app(self) -> str:
        return self.metadata.url


@dataclass(frozen=True, slots=True)
class SubscribeRequest:
    """`publish` the request, subscribe to `response_topic`; `sym_key_s` opens the answer."""

    pending: PendingSubscribe
    publish: Publication
    response_topic: Topic
    sym_key_s: SymKey = field(repr=False)


def request_subscription(
    document: DidWebDocument,
    wallet: WalletIdentity,
    *,
    key_pair_y: KeyPair,
    metadata: Metadata,
    scope: ScopeMap,
    request_id: int,
    iv: bytes,
    now: int,
) -> SubscribeRequest:
    """Ask the dapp of `document` for the enabled types of `scope`.

    `metadata.url` is the dapp's URL from `locate_dapp`. Y is fresh for every request.
    """
    subscription_auth = SubscriptionAuth(
        iat=now,
        exp=now + SUBSCRIBE.ttl,
        iss=wallet.key.did,
        sub=wallet.account.did,
        aud=document.authentication_did,
        ksu=wallet.keys_server_url,
        scp=scope.enabled,
        app=metadata.url,
    ).sign(wallet.key)
    public_key_x = document.key_agreement
    subscribe_topic = topic_of(public_key_x)  # step 2
    public_key_y = key_pair_y.public_key  # step 3
    sym_key_s = derive_sym_key(key_pair_y, public_key_x)  # step 4
    publish = publish_request(  # step 5
        SUBSCRIBE,
        subscription_auth,
        request_id=request_id,
        topic=subscribe_topic,
        sym_key=sym_key_s,
        sender=public_key_y,
        iv=iv,
    )
    response_topic = sym_key_s.topic  # step 6
    pending = PendingSubscribe(
        request_id=request_id,
        account=wallet.account,
        identity_did=wallet.key.did,
        dapp_did=document.authentication_did,
        response_topic=response_topic,
        metadata=metadata,
        scope=scope,
        expires_at=now + SUBSCRIBE.ttl,
    )
    return SubscribeRequest(pending, publish, response_topic, sym_key_s)  # step 7


@dataclass(frozen=True, slots=True)
class SubscribeAnswer:
    """What the Cast Server stores and sends.

    `webhook` is None if the account was subscribed before. `subscription_hash` becomes
    `sub` of every notification; `iat` guards against older requests.
    """

    webhook: WebhookEvent | None
    sym_key_p: SymKey = field(repr=False)
    publish: Publication
    notify_topic: Topic
    account: AccountId
    scope: tuple[str, ...]
    subscription_hash: str
    expiry: int
    iat: int
    app: str


def answer_subscription(
    request: JsonRpcRequest,
    dapp: DappIdentity,
    *,
    topic: Topic,
    public_key_y: bytes,
    identity: Cacao,
    key_pair_z: KeyPair,
    iv: bytes,
    now: int,
    is_new: bool = True,
    last_delete_iat: int | None = None,
    known_sym_key: SymKey | None = None,
    others: Sequence[ServerSubscription] = (),
) -> SubscribeAnswer:
    """Accept a subscribe request, or raise `RemoteProtocolError`.

    `request` was opened with X and `public_key_y` of its envelope; `identity` is the CACAO
    of its signer. `is_new` means that the account has no subscription here,
    `last_delete_iat` is the `iat` of its last delete. `known_sym_key` is the key of the
    account's subscription, `others` are its subscriptions to other dapps; v0 needs neither.
    """
    if topic != dapp.key_pair_x.topic:  # step 8
        raise RemoteProtocolError(ErrorCode.MISMATCH, "topic is not of this key")
    sym_key_s = derive_sym_key(dapp.key_pair_x, public_key_y)
    auth, account = read_auth(  # step 9
        SubscriptionAuth, request, SUBSCRIBE, dapp=dapp, identity=identity, now=now
    )
    require_newer(auth.iat, last_delete_iat)
    webhook = WebhookEvent.SUBSCRIBED if is_new else None  # step 10
    public_key_z = key_pair_z.public_key  # step 11
    dialect = dialect_of(auth.app)
    sym_key_p = dialect.subscription_key(  # step 12
        derive_sym_key(key_pair_z, public_key_y), known_sym_key
    )
    expiry = now + SUBSCRIPTION_LIFE
    made = report_subscription(
        auth, dapp, sym_key=sym_key_p, scope=auth.scp, expiry=expiry
    )
    response_auth = SubscriptionResponseAuth(
        iat=now,
        exp=now + SUBSCRIBE.response_ttl,
        iss=dapp.key.did,
        mjv=auth.mjv,
        ksu=auth.ksu,
        aud=auth.iss,
        sub=dialect.response_sub(auth.sub, did_key(public_key_z)),
        app=auth.app,
        sbs=dialect.subscription_list([*others, made]),
    ).sign(dapp.key)
    publish = publish_result(  # step 13
        SUBSCRIBE,
        {SUBSCRIBE.result: response_auth},
        request_id=request.id,
        sym_key=sym_key_s,
        iv=iv,
    )
    return SubscribeAnswer(
        webhook=webhook,
        sym_key_p=sym_key_p,
        publish=publish,
        notify_topic=sym_key_p.topic,
        account=account,
        scope=auth.scp,
        subscription_hash=hash_text(str(token_of_request(request, SUBSCRIBE))),
        expiry=expiry,
        iat=auth.iat,
        app=auth.app,
    )


@dataclass(frozen=True, slots=True)
class Settlement:
    """W1 has its subscription; it subscribes to `notify_topic`."""

    subscription: NotifySubscription
    notify_topic: Topic


def settle_subscription(
    pending: PendingSubscribe,
    answer: JsonRpcResult | JsonRpcError,
    *,
    key_pair_y: KeyPair,
    now: int,
) -> Settlement:
    """The subscription that the dapp's answer makes; a refusal raises."""
    if now > pending.expires_at:
        raise RemoteProtocolError(ErrorCode.EXPIRED, "the request has expired")
    response_auth = SubscriptionResponseAuth.read(  # step 14
        token_of_answer(answer, SUBSCRIBE, request_id=pending.request_id),
        now=now,
        iss=pending.dapp_did,
        aud=pending.identity_did,
    )
    require_app(response_auth.app, pending.app)
    sym_key_p = derive_sym_key(key_pair_y, response_auth.public_key_z)  # step 15
    notify_topic = sym_key_p.topic  # step 16
    subscription = NotifySubscription(
        topic=notify_topic,
        account=pending.account,
        metadata=pending.metadata,
        scope=pending.scope,
        expiry=now + SUBSCRIPTION_LIFE,
        sym_key=sym_key_p,
    )
    return Settlement(subscription, notify_topic)  # step 17


def announce_subscription(
    subscription: NotifySubscription, *, update_id: int
) -> StoreSet:
    """The entry of the store `com.walletconnect.notify.notifySubscription`."""
    return StoreSet(subscription.topic, subscription.to_json(), update_id)  # step 18


@dataclass(frozen=True, slots=True)
class Adoption:
    """Wx has the subscription; it subscribes to `notify_topic`."""

    subscription: NotifySubscription
    notify_topic: Topic


def adopt_subscription(update: StoreSet, account: AccountId, *, now: int) -> Adoption:
    """The subscription that a device of `account` has announced.

    Any device of the account can write anything into the store, so the entry is accepted
    only if store key, topic and symmetric key belong together and it is in time.
    """
    subscription = NotifySubscription.from_json(update.value)  # step 19
    if update.key != subscription.topic:
        raise RemoteProtocolError(
            ErrorCode.MISMATCH, "store key is not the notify topic"
        )
    require_account(subscription.account, account)
    if subscription.is_expired(now):
        raise RemoteProtocolError(ErrorCode.EXPIRED, "the subscription has expired")
    if subscription.expiry > now + MAX_EXPIRY:
        raise RemoteProtocolError(ErrorCode.MALFORMED, "the expiry is too far away")
    return Adoption(subscription, subscription.topic)  # step 20
