"""Ending a subscription from the wallet's side.

Spec: clients/notify/notify-delete.md.

    W1           request_delete   the delete on the notify topic, and the store delete
    Cast Server  answer_delete    the webhook, the answer

W1 does not wait for the answer, which is sent on a topic that it has unsubscribed from; its
other devices follow the store. They also receive W1's request on the shared topic: the
released client takes it for a delete by the server, ours ignores it.

Departure: in v0 `sub` is a free text, so the account is the one in the CACAO of the signer.
(The server of August 2023 compared the text with the account.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from walletconnect.notify.answers import publish_request, publish_result
from walletconnect.notify.claims import DeleteAuth, DeleteResponseAuth
from walletconnect.notify.dialect import V0, dialect_of
from walletconnect.notify.methods import DELETE
from walletconnect.notify.parties import (
    read_auth,
    require_account,
    require_newer,
)
from walletconnect.sync.store import StoreDelete

if TYPE_CHECKING:
    from collections.abc import Sequence

    from walletconnect.crypto.keys import SymKey
    from walletconnect.identity.cacao import Cacao
    from walletconnect.identity.did import AccountId
    from walletconnect.notify.dialect import Dialect
    from walletconnect.notify.parties import DappIdentity, WalletIdentity
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.notify.values import NotifySubscription
    from walletconnect.relay.messages import Publication
    from walletconnect.relay.rpc import JsonRpcRequest


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """`publish` it, put `store_delete` into the store, unsubscribe from the topic."""

    publish: Publication
    store_delete: StoreDelete


def request_delete(
    subscription: NotifySubscription,
    wallet: WalletIdentity,
    *,
    dapp_did: str,
    request_id: int,
    update_id: int,
    iv: bytes,
    now: int,
    dialect: Dialect = V0,
) -> DeleteRequest:
    delete_auth = DeleteAuth(
        iat=now,
        exp=now + DELETE.ttl,
        iss=wallet.key.did,
        mjv=dialect.mjv,
        aud=dapp_did,
        sub=dialect.delete_sub(wallet.account),
        ksu=wallet.keys_server_url,
        app=dialect.app(subscription.app),
    ).sign(wallet.key)
    publish = publish_request(
        DELETE,
        delete_auth,
        request_id=request_id,
        sym_key=subscription.sym_key,
        iv=iv,
    )
    return DeleteRequest(publish, StoreDelete(subscription.topic, update_id))


@dataclass(frozen=True, slots=True)
class DeleteAnswer:
    """For the Cast Server: send `publish`, call the webhook, drop the key.

    `iat` is kept, because a subscribe request signed before it is refused.
    """

    publish: Publication
    iat: int


def answer_delete(
    request: JsonRpcRequest,
    dapp: DappIdentity,
    *,
    sym_key_p: SymKey,
    account: AccountId,
    identity: Cacao,
    subscription_hash: str,
    iv: bytes,
    now: int,
    last_iat: int | None = None,
    others: Sequence[ServerSubscription] = (),
) -> DeleteAnswer:
    """Accept a delete by `account`, or raise.

    `subscription_hash` is that of the last subscriptionAuth or updateAuth; `others` are the
    account's remaining subscriptions, which v1 lists.
    """
    auth, signer = read_auth(
        DeleteAuth, request, DELETE, dapp=dapp, identity=identity, now=now
    )
    require_account(signer, account)
    require_newer(auth.iat, last_iat)
    dialect = dialect_of(auth.app)
    response_auth = DeleteResponseAuth(
        iat=now,
        exp=now + DELETE.response_ttl,
        iss=dapp.key.did,
        mjv=auth.mjv,
        ksu=auth.ksu,
        aud=auth.iss,
        sub=dialect.response_sub(auth.sub, subscription_hash),
        app=auth.app,
        sbs=dialect.subscription_list(others),
    ).sign(dapp.key)
    publish = publish_result(
        DELETE,
        {DELETE.result: response_auth},
        request_id=request.id,
        sym_key=sym_key_p,
        iv=iv,
    )
    return DeleteAnswer(publish, auth.iat)
