"""Leaving a subscription.

Spec: clients/notify/notify-delete.md; protocol.md, sections 5.3, 5.5 and 5.6.

    W1           request_delete   the farewell on the notify topic, and the store delete
    Cast Server  answer_delete    the webhook, the answer

W1 does not wait: the answer comes on a topic it has left. Its devices learn from the store.
They also hear W1's request on the shared topic; the shipped client takes that for the
server's word, ours ignores it.

Departure: in August the token's `sub` is a free reason, so the account is the one in the
CACAO of the signer. (The August server compared the reason with the account.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from walletconnect.identity.did import is_did_web
from walletconnect.notify.answers import publish_request, publish_result
from walletconnect.notify.claims import (
    DELETE_REASON,
    LATER,
    DeleteAuth,
    DeleteResponseAuth,
)
from walletconnect.notify.methods import DELETE
from walletconnect.notify.parties import (
    WebhookEvent,
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
    from walletconnect.notify.parties import DappIdentity, WalletIdentity
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.notify.values import NotifySubscription
    from walletconnect.relay.messages import Publication
    from walletconnect.relay.rpc import JsonRpcRequest


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """`publish` the farewell, put `store_delete` into the store, leave the topic."""

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
    later: bool = False,
) -> DeleteRequest:
    """Say farewell; `later` in the words of the later generation, as for an update."""
    delete_auth = DeleteAuth(
        iat=now,
        exp=now + DELETE.ttl,
        iss=wallet.key.did,
        mjv=LATER if later else None,
        aud=dapp_did,
        sub=wallet.account.did if later else DELETE_REASON,
        ksu=wallet.keys_server_url,
        app=subscription.app_did if later else subscription.app,
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
    """What the Cast Server does: forget the account (after `publish` left), tell the dapp.

    `iat` stays behind: a subscribe request signed before it is refused.
    """

    webhook: WebhookEvent
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
    """Accept that `account` leaves, or raise.

    `subscription_hash` is that of the last subscriptionAuth or updateAuth; `others` are the
    account's remaining subscriptions, for the later generation.
    """
    auth, signer = read_auth(
        DeleteAuth, request, DELETE, dapp=dapp, identity=identity, now=now
    )
    require_account(signer, account)
    require_newer(auth.iat, last_iat)
    later = is_did_web(auth.app)
    response_auth = DeleteResponseAuth(
        iat=now,
        exp=now + DELETE.response_ttl,
        iss=dapp.key.did,
        mjv=auth.mjv,
        ksu=auth.ksu,
        aud=auth.iss,
        sub=auth.sub if later else subscription_hash,
        app=auth.app,
        sbs=tuple(others) if later else None,
    ).sign(dapp.key)
    publish = publish_result(
        DELETE,
        {DELETE.result: response_auth},
        request_id=request.id,
        sym_key=sym_key_p,
        iv=iv,
    )
    webhook = WebhookEvent("unsubscribed", account, str(dapp.url))
    return DeleteAnswer(webhook, publish, auth.iat)
