"""Changing the types of a subscription.

Spec: clients/notify/notify-update.md.

    W1           request_update   the new types, on the notify topic
    Cast Server  answer_update    the stored scope, the answer
    W1           settle_update    the subscription with its new scope and a new expiry
    W1           announce_subscription (subscribe.py): the store entry for other devices

Every device of the account receives request and answer, because they share the topic. A
device without a pending update ignores both and takes the new scope from the store.

Departure: the released client accepts any answer with its request's id, which is unsigned.
Here the answer must also be the dapp's, and about this very update.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from walletconnect.crypto.keys import hash_text
from walletconnect.notify.answers import (
    publish_request,
    publish_result,
    token_of_answer,
    token_of_request,
)
from walletconnect.notify.claims import UpdateAuth, UpdateResponseAuth
from walletconnect.notify.dialect import V0, dialect_of
from walletconnect.notify.methods import SUBSCRIPTION_LIFE, UPDATE
from walletconnect.notify.parties import (
    read_auth,
    report_subscription,
    require_account,
    require_app,
    require_newer,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from walletconnect.crypto.keys import SymKey
    from walletconnect.identity.cacao import Cacao
    from walletconnect.identity.did import AccountId
    from walletconnect.notify.dialect import Dialect
    from walletconnect.notify.parties import DappIdentity, WalletIdentity
    from walletconnect.notify.scope import ScopeMap
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.notify.values import NotifySubscription
    from walletconnect.relay.messages import Publication
    from walletconnect.relay.rpc import (
        JsonRpcError,
        JsonRpcRequest,
        JsonRpcResult,
        RpcId,
    )


@dataclass(frozen=True, slots=True)
class PendingUpdate:
    """What W1 keeps while it waits for the answer."""

    request_id: RpcId
    identity_did: str
    dapp_did: str
    scope: ScopeMap
    update_hash: str


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    pending: PendingUpdate
    publish: Publication


def request_update(
    subscription: NotifySubscription,
    wallet: WalletIdentity,
    *,
    enabled: Collection[str],
    dapp_did: str,
    request_id: int,
    iv: bytes,
    now: int,
    dialect: Dialect = V0,
) -> UpdateRequest:
    """Ask for exactly the `enabled` types from now on; none at all is allowed."""
    scope = subscription.scope.with_enabled(enabled)
    update_auth = UpdateAuth(
        iat=now,
        exp=now + UPDATE.ttl,
        iss=wallet.key.did,
        mjv=dialect.mjv,
        aud=dapp_did,
        sub=wallet.account.did,
        app=dialect.app(subscription.app),
        ksu=wallet.keys_server_url,
        scp=scope.enabled,
    ).sign(wallet.key)
    publish = publish_request(
        UPDATE,
        update_auth,
        request_id=request_id,
        sym_key=subscription.sym_key,
        iv=iv,
    )
    pending = PendingUpdate(
        request_id=request_id,
        identity_did=wallet.key.did,
        dapp_did=dapp_did,
        scope=scope,
        update_hash=hash_text(update_auth),
    )
    return UpdateRequest(pending, publish)


@dataclass(frozen=True, slots=True)
class UpdateAnswer:
    """What the Cast Server stores and sends. `subscription_hash` replaces the old one."""

    publish: Publication
    scope: tuple[str, ...]
    subscription_hash: str
    expiry: int
    iat: int
    app: str


def answer_update(
    request: JsonRpcRequest,
    dapp: DappIdentity,
    *,
    sym_key_p: SymKey,
    account: AccountId,
    identity: Cacao,
    iv: bytes,
    now: int,
    last_iat: int | None = None,
    others: Sequence[ServerSubscription] = (),
) -> UpdateAnswer:
    """Accept an update of the subscription of `account`, or raise.

    `last_iat` is the `iat` of the last request that was accepted for it.
    """
    auth, signer = read_auth(
        UpdateAuth, request, UPDATE, dapp=dapp, identity=identity, now=now
    )
    require_account(signer, account)
    require_newer(auth.iat, last_iat)
    update_hash = hash_text(str(token_of_request(request, UPDATE)))
    expiry = now + SUBSCRIPTION_LIFE
    dialect = dialect_of(auth.app)
    updated = report_subscription(
        auth, dapp, sym_key=sym_key_p, scope=auth.scp, expiry=expiry
    )
    response_auth = UpdateResponseAuth(
        iat=now,
        exp=now + UPDATE.response_ttl,
        iss=dapp.key.did,
        mjv=auth.mjv,
        ksu=auth.ksu,
        aud=auth.iss,
        sub=dialect.response_sub(auth.sub, update_hash),
        app=auth.app,
        sbs=dialect.subscription_list([*others, updated]),
    ).sign(dapp.key)
    publish = publish_result(
        UPDATE,
        {UPDATE.result: response_auth},
        request_id=request.id,
        sym_key=sym_key_p,
        iv=iv,
    )
    return UpdateAnswer(publish, auth.scp, update_hash, expiry, auth.iat, auth.app)


def settle_update(
    pending: PendingUpdate,
    answer: JsonRpcResult | JsonRpcError,
    subscription: NotifySubscription,
    *,
    now: int,
) -> NotifySubscription:
    """The subscription after the dapp's answer; a refusal raises."""
    response_auth = UpdateResponseAuth.read(
        token_of_answer(answer, UPDATE, request_id=pending.request_id),
        now=now,
        iss=pending.dapp_did,
        aud=pending.identity_did,
    )
    require_app(response_auth.app, subscription.app)
    # The id of an answer is unsigned: an older one could be sealed again under this id.
    dialect_of(response_auth.app).require_response_sub(
        response_auth.sub, subscription.account, pending.update_hash
    )
    return subscription.with_scope(pending.scope, now=now)
