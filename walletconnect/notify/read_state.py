"""v1: a page of notifications with their read state, and marking them read.

Spec: clients/notify/notify-get-notifications.md, notify-mark-notifications-as-read.md of
2024. Both travel on the notify topic.

    wallet         request_get_notifications
    Notify server  read_get_notifications, answer_get_notifications
    wallet         read_notifications
    wallet         request_mark_read
    Notify server  read_mark_read, answer_mark_read
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from walletconnect.json_values import malformed
from walletconnect.notify.answers import (
    publish_request,
    publish_result,
    token_of_answer,
    token_of_request,
)
from walletconnect.notify.dialect import V1, dialect_of
from walletconnect.notify.methods import GET_NOTIFICATIONS, MARK_READ
from walletconnect.notify.parties import require_account, require_app
from walletconnect.notify.watch_claims import (
    MAX_NOTIFICATIONS,
    GetNotificationsAuth,
    GetNotificationsResponseAuth,
    MarkReadAuth,
    MarkReadResponseAuth,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from walletconnect.crypto.keys import SymKey
    from walletconnect.identity.cacao import Cacao
    from walletconnect.identity.did import AccountId
    from walletconnect.notify.parties import DappIdentity, WalletIdentity
    from walletconnect.notify.values import NotifyMessage, NotifySubscription
    from walletconnect.relay.messages import Publication
    from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest, JsonRpcResult

_Auth = TypeVar("_Auth", GetNotificationsAuth, MarkReadAuth)


def _read(
    act: type[_Auth],
    token: object,
    *,
    dapp: DappIdentity,
    account: AccountId,
    identity: Cacao,
    now: int,
) -> _Auth:
    auth = act.read(token, now=now, aud=dapp.key.did, ksu=dapp.allowed_keys_servers)
    require_app(auth.app, str(dapp.url))
    require_account(auth.account, account)
    identity.verify_signer(auth.iss, account, now=now)
    dialect_of(auth.app).require_authorization(identity, auth.app)
    return auth


def request_get_notifications(
    subscription: NotifySubscription,
    wallet: WalletIdentity,
    *,
    dapp_did: str,
    request_id: int,
    iv: bytes,
    now: int,
    after: str | None = None,
) -> Publication:
    """Ask for the newest notifications, or for those that came before `after`."""
    token = GetNotificationsAuth(
        iat=now,
        exp=now + GET_NOTIFICATIONS.ttl,
        iss=wallet.key.did,
        mjv=V1.mjv,
        aud=dapp_did,
        sub=wallet.account.did,
        ksu=wallet.keys_server_url,
        app=subscription.app_did,
        lmt=MAX_NOTIFICATIONS,
        aft=after,
    ).sign(wallet.key)
    return publish_request(
        GET_NOTIFICATIONS,
        token,
        request_id=request_id,
        sym_key=subscription.sym_key,
        iv=iv,
    )


def read_get_notifications(
    request: JsonRpcRequest,
    dapp: DappIdentity,
    *,
    account: AccountId,
    identity: Cacao,
    now: int,
) -> GetNotificationsAuth:
    """Which page of its notifications a device of `account` asks for."""
    return _read(
        GetNotificationsAuth,
        token_of_request(request, GET_NOTIFICATIONS),
        dapp=dapp,
        account=account,
        identity=identity,
        now=now,
    )


def answer_get_notifications(
    request: JsonRpcRequest,
    auth: GetNotificationsAuth,
    dapp: DappIdentity,
    *,
    page: Sequence[NotifyMessage],
    more: bool,
    more_unread: bool,
    sym_key_p: SymKey,
    iv: bytes,
    now: int,
) -> Publication:
    """The page: newest first; with `auth.urf` the unread before the read.

    `auth` comes from `read_get_notifications` and names the page to look up.
    """
    token = GetNotificationsResponseAuth(
        iat=now,
        exp=now + GET_NOTIFICATIONS.response_ttl,
        iss=dapp.key.did,
        mjv=auth.mjv,
        aud=auth.iss,
        sub=auth.sub,
        app=auth.app,
        nfs=tuple(page),
        mre=more,
        mur=more_unread,
    ).sign(dapp.key)
    return publish_result(
        GET_NOTIFICATIONS,
        {GET_NOTIFICATIONS.result: token},
        request_id=request.id,
        sym_key=sym_key_p,
        iv=iv,
    )


@dataclass(frozen=True, slots=True)
class NotificationPage:
    """The answer to the device `asked_by`; with `more` there are older ones."""

    asked_by: str
    notifications: tuple[NotifyMessage, ...]
    more: bool


def read_notifications(
    answer: JsonRpcResult | JsonRpcError,
    account: AccountId,
    *,
    app: str,
    dapp_did: str,
    now: int,
) -> NotificationPage:
    """The page in an answer to any device of `account`, verified, or raise.

    All of them receive it on the notify topic and may use it: read state is the account's,
    and a notification that was read stays read.
    """
    if answer.id is None:
        raise malformed("id")
    auth = GetNotificationsResponseAuth.read(
        token_of_answer(answer, GET_NOTIFICATIONS, request_id=answer.id),
        now=now,
        iss=dapp_did,
    )
    require_app(auth.app, app)
    require_account(auth.account, account)
    return NotificationPage(auth.aud, auth.nfs, auth.mre)


def request_mark_read(
    subscription: NotifySubscription,
    wallet: WalletIdentity,
    *,
    ids: Sequence[str],
    dapp_did: str,
    request_id: int,
    iv: bytes,
    now: int,
) -> Publication:
    """Mark notifications as read on the server, by the id in their `msg`."""
    token = MarkReadAuth(
        iat=now,
        exp=now + MARK_READ.ttl,
        iss=wallet.key.did,
        mjv=V1.mjv,
        aud=dapp_did,
        sub=wallet.account.did,
        ksu=wallet.keys_server_url,
        app=subscription.app_did,
        ids=tuple(ids),
    ).sign(wallet.key)
    return publish_request(
        MARK_READ,
        token,
        request_id=request_id,
        sym_key=subscription.sym_key,
        iv=iv,
    )


def read_mark_read(
    request: JsonRpcRequest,
    dapp: DappIdentity,
    *,
    account: AccountId,
    identity: Cacao,
    now: int,
) -> MarkReadAuth:
    """Which notifications a device of `account` has read."""
    return _read(
        MarkReadAuth,
        token_of_request(request, MARK_READ),
        dapp=dapp,
        account=account,
        identity=identity,
        now=now,
    )


def answer_mark_read(
    request: JsonRpcRequest,
    auth: MarkReadAuth,
    dapp: DappIdentity,
    *,
    sym_key_p: SymKey,
    iv: bytes,
    now: int,
) -> Publication:
    token = MarkReadResponseAuth(
        iat=now,
        exp=now + MARK_READ.response_ttl,
        iss=dapp.key.did,
        mjv=auth.mjv,
        aud=auth.iss,
        sub=auth.sub,
        app=auth.app,
    ).sign(dapp.key)
    return publish_result(
        MARK_READ,
        {MARK_READ.result: token},
        request_id=request.id,
        sym_key=sym_key_p,
        iv=iv,
    )
