"""A valid request for every relay method of the Cast Server, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from castserver.services.notifications.notify import notify
from castserver.services.projects.documents import server_did_document
from common import clock, entropy
from tests.castserver.world import open_last
from tests.hostile.tokens import Forgery
from walletconnect.crypto.keys import KeyPair
from walletconnect.identity.did import DidWebDocument
from walletconnect.notify.answers import publish_request
from walletconnect.notify.message import make_receipt, receive_message
from walletconnect.notify.methods import (
    DELETE,
    GET_NOTIFICATIONS,
    MARK_READ,
    SUBSCRIBE,
    UPDATE,
    WATCH,
)
from walletconnect.notify.values import NotifyMessage
from walletconnect.notify.watch import request_watch
from walletconnect.notify.watch_claims import GetNotificationsAuth, MarkReadAuth
from walletconnect.relay.rpc import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.castserver.world import Wallet
    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.values import NotifySubscription
    from walletconnect.relay.messages import Publication

SOME_NOTIFICATION = "00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class RequestCase:
    """A message to the Cast Server, with the key and tag of its response."""

    publish: Publication
    sym_key: SymKey
    # None for receipts, which have no response.
    response_tag: int | None = None


def _forged(method: Any) -> Callable[..., RequestCase]:
    def make(
        project: Any, wallet: Wallet, subscription: NotifySubscription
    ) -> RequestCase:
        sym_key = None if method is SUBSCRIBE else subscription.sym_key
        forgery = Forgery(project, wallet, method, sym_key)
        publish = forgery.publication(forgery.token())
        return RequestCase(publish, forgery.answer_key, method.response_tag)

    return make


def _receipt(
    project: Any, wallet: Wallet, subscription: NotifySubscription
) -> RequestCase:
    """A receipt for a notification that is sent here."""
    draft = NotifyMessage(type="alerts", title="Hello", body="World")
    notify(project, draft, [str(wallet.account)])
    received = receive_message(
        parse(open_last(subscription.sym_key, 4002)),
        wallet.account,
        app=project.url,
        dapp_did=project.authentication_did,
        now=clock.now_s(),
    )
    publish = make_receipt(
        received,
        wallet.identity,
        sym_key=subscription.sym_key,
        iv=entropy.iv(),
        now=clock.now_s(),
    )
    return RequestCase(publish, subscription.sym_key)


def _later(
    method: Any, auth_class: Any, **claims: object
) -> Callable[..., RequestCase]:
    def make(
        project: Any, wallet: Wallet, subscription: NotifySubscription
    ) -> RequestCase:
        token = auth_class(
            iat=clock.now_s(),
            exp=clock.now_s() + 300,
            iss=wallet.key.did,
            mjv="1",
            aud=project.authentication_did,
            sub=wallet.account.did,
            ksu=wallet.identity.keys_server_url,
            app="did:web:dapp.example.org",
            **claims,
        ).sign(wallet.key)
        publish = publish_request(
            method,
            token,
            request_id=clock.payload_id(),
            sym_key=subscription.sym_key,
            iv=entropy.iv(),
        )
        return RequestCase(publish, subscription.sym_key, method.response_tag)

    return make


def _watch(
    project: Any, wallet: Wallet, subscription: NotifySubscription
) -> RequestCase:
    made = request_watch(
        DidWebDocument.from_value(server_did_document()),
        wallet.identity,
        key_pair=KeyPair.from_private(entropy.key_bytes()),
        app=None,
        request_id=clock.payload_id(),
        iv=entropy.iv(),
        now=clock.now_s(),
    )
    return RequestCase(made.publish, made.sym_key, WATCH.response_tag)


# name: makes a request of ``wallet``, which holds ``subscription`` and may do all
ENDPOINTS: dict[str, Callable[..., RequestCase]] = {
    "subscribe": _forged(SUBSCRIBE),
    "update": _forged(UPDATE),
    "delete": _forged(DELETE),
    "receipt": _receipt,
    "watch": _watch,
    "read": _later(GET_NOTIFICATIONS, GetNotificationsAuth, lmt=3, aft=None),
    "mark": _later(MARK_READ, MarkReadAuth, ids=(SOME_NOTIFICATION,)),
}
