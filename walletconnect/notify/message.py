"""Notifications and their receipts.

Spec: clients/notify/notify-message.md.

    Cast Server  MessageBatch      one notification for many accounts
    W1, Wx       receive_message   the notification, verified
    W1, Wx       make_receipt      "it arrived", on the notify topic
    Cast Server  read_receipt      which request, from whom

Every device of an account answers every message, again after a replay from History:
receipts are many and late, and are matched by their JSON-RPC id.

Departure: v0 messages too carry the `id`, `sent_at` and `is_read` of v1. An account may
have wallets of both versions on one topic; those of v1 keep only the first of all messages
without an id, and those of v0 hash whatever they received.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from walletconnect.crypto.base64url import encode_base64url
from walletconnect.crypto.envelope import seal
from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from walletconnect.identity.jwt import DidJwt, sign_encoded
from walletconnect.json_values import JsonObject, JsonValue, dump_json, require_object
from walletconnect.notify.answers import publish_result, token_of_request
from walletconnect.notify.claims import MessageAuth, MessageResponseAuth, ReceiptAuth
from walletconnect.notify.dialect import V1, dialect_of
from walletconnect.notify.methods import MESSAGE
from walletconnect.notify.parties import require_account, require_app
from walletconnect.relay.messages import Publication
from walletconnect.relay.rpc import JsonRpcError

if TYPE_CHECKING:
    from walletconnect.crypto.keys import SymKey
    from walletconnect.crypto.signing import IdentityKey
    from walletconnect.identity.cacao import Cacao
    from walletconnect.identity.did import AccountId
    from walletconnect.notify.dialect import Dialect
    from walletconnect.notify.parties import DappIdentity, WalletIdentity
    from walletconnect.notify.values import NotifyMessage
    from walletconnect.relay.rpc import JsonRpcRequest, JsonRpcResult, RpcId

_PLAIN = re.compile(r"[\w-]{0,128}", re.ASCII)
_V1_RESULT: Final = "responseAuth"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One account of a batch.

    `request_id` is unique per message and recipient: clients key what they keep by it
    alone. `subscription_hash` is for v0.
    """

    account: AccountId
    sym_key: SymKey = field(repr=False)
    request_id: int
    subscription_hash: str = ""
    notification_id: str = ""

    def __post_init__(self) -> None:
        # Both are written into JSON text as they are.
        if not _PLAIN.fullmatch(self.subscription_hash + self.notification_id):
            raise LocalProtocolError("a notification id is letters, digits and dashes")


@dataclass(frozen=True, slots=True)
class MessageBatch:
    """One notification for many accounts that subscribed with the same claim `app`.

    Only the receiver's own claims differ within a batch. They come last, behind the rest,
    which is filled up with JSON spaces to a multiple of three bytes: so the rest is base64
    encoded once, and each further token costs little more than its signature.
    """

    _key: IdentityKey
    _dialect: Dialect
    _encoded_head: str = field(repr=False)

    @classmethod
    def create(
        cls,
        notification: NotifyMessage,
        key: IdentityKey,
        *,
        app: str,
        now: int,
        sent_at: int,
    ) -> MessageBatch:
        """`sent_at` is in milliseconds."""
        dialect = dialect_of(app)
        claims: JsonObject = {
            "act": MessageAuth.act,
            "iat": now,
            "exp": now + MESSAGE.ttl,
            "iss": key.did,
            "app": app,
        }
        if dialect.mjv is not None:
            claims["mjv"] = dialect.mjv
        msg = notification.check_outgoing().to_value()
        msg = {**msg, "sent_at": sent_at, "is_read": False}
        # Claims and `msg` are both left open: the recipient's own id closes `msg`.
        text = dump_json(claims)[:-1] + ',"msg":' + dump_json(msg)[:-1]
        head = text.encode()
        return cls(key, dialect, encode_base64url(head + b" " * (-len(head) % 3)))

    def token(self, recipient: Recipient) -> str:
        """The messageAuth of one account."""
        tail = f',"id":"{recipient.notification_id}"}}' + self._dialect.message_tail(
            recipient.account.did, recipient.subscription_hash
        )
        return sign_encoded(
            self._encoded_head + encode_base64url(tail.encode("ascii")), self._key
        )

    def publication(self, recipient: Recipient, *, iv: bytes) -> Publication:
        """The message for one account; `iv` is fresh for each."""
        # Every part is plain ASCII without quotes: an AccountId has no others.
        request = (
            f'{{"id":{recipient.request_id},"jsonrpc":"2.0","method":"{MESSAGE.name}",'
            f'"params":{{"{MESSAGE.param}":"{self.token(recipient)}"}}}}'
        )
        return Publication(
            topic=recipient.sym_key.topic,
            message=seal(request, recipient.sym_key, iv=iv),
            tag=MESSAGE.tag,
            ttl=MESSAGE.ttl,
            prompt=MESSAGE.prompt,
        )


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A verified notification, and what its receipt repeats."""

    message: NotifyMessage
    request_id: RpcId
    message_hash: str
    iat: int
    app: str
    dapp_did: str
    subscription_hash: str | None
    token: str = field(repr=False)

    @property
    def is_v1(self) -> bool:
        return self.subscription_hash is None


def receive_message(
    request: JsonRpcRequest,
    account: AccountId,
    *,
    app: str,
    dapp_did: str,
    now: int,
    archived: bool = False,
    token: DidJwt | None = None,
) -> ReceivedMessage:
    """The notification that the dapp at `app` sent to `account`, or raise.

    `dapp_did` is the authentication key of its did.json. A History Server keeps messages
    for longer than their tokens live: what is `archived` may have expired. `token` is that
    of the request, if it was parsed already.
    """
    jwt = token or DidJwt.parse(token_of_request(request, MESSAGE))
    if archived:
        exp = jwt.claims.get("exp")
        now = min(now, exp if type(exp) is int else 0)
    jwt.verify(
        now=now, act=MessageAuth.act, max_life=MessageAuth.max_life, iss=dapp_did
    )
    auth = MessageAuth.from_claims(jwt.claims)
    require_app(auth.app, app)
    if auth.aud != account.did:
        # The account in another form, v1, or another account.
        require_account(auth.account, account)
    return ReceivedMessage(
        message=auth.message,
        request_id=request.id,
        message_hash=auth.message_hash,
        iat=auth.iat,
        app=auth.app,
        dapp_did=dapp_did,
        subscription_hash=None if auth.aud is None else auth.sub,
        token=jwt.text,
    )


def make_receipt(
    received: ReceivedMessage,
    wallet: WalletIdentity,
    *,
    sym_key: SymKey,
    iv: bytes,
    now: int,
) -> Publication:
    """Confirm to the dapp that its notification arrived."""
    exp = now + MESSAGE.response_ttl
    result: JsonObject
    if received.is_v1:
        response = MessageResponseAuth(
            iat=now,
            exp=exp,
            iss=wallet.key.did,
            mjv=V1.mjv,
            aud=received.dapp_did,
            sub=wallet.account.did,
            app=received.app,
            ksu=wallet.keys_server_url,
        )
        result = {_V1_RESULT: response.sign(wallet.key)}
    else:
        receipt = ReceiptAuth(
            iat=now,
            exp=exp,
            iss=wallet.key.did,
            aud=received.dapp_did,
            sub=received.message_hash,
            app=received.app,
            ksu=wallet.keys_server_url,
        )
        result = {MESSAGE.result: receipt.sign(wallet.key)}
    return publish_result(
        MESSAGE, result, request_id=received.request_id, sym_key=sym_key, iv=iv
    )


@dataclass(frozen=True, slots=True)
class ReadReceipt:
    """A verified receipt. `message_hash` is None in v1."""

    request_id: RpcId
    identity_did: str
    message_hash: str | None


def claimed_receipt(answer: JsonRpcResult | JsonRpcError) -> tuple[str, str]:
    """Unverified: the identity key and the key server that a receipt names."""
    jwt = DidJwt.parse(_receipt_token(answer))
    return jwt.iss, str(jwt.claims.get("ksu", ""))


def read_receipt(
    answer: JsonRpcResult | JsonRpcError,
    dapp: DappIdentity,
    *,
    account: AccountId,
    identity: Cacao,
    now: int,
) -> ReadReceipt:
    """The receipt of a device of `account`, in either version, or raise.

    A wallet that could not read the message answers with an error: `REFUSED`.
    """
    jwt = DidJwt.parse(_receipt_token(answer))
    dapp = dapp.addressed_by(jwt.claims.get("aud"))
    kind: type[ReceiptAuth | MessageResponseAuth] = (
        ReceiptAuth if jwt.act == ReceiptAuth.act else MessageResponseAuth
    )
    jwt.verify(now=now, act=kind.act, max_life=kind.max_life, aud=dapp.key.did)
    auth = kind.from_claims(jwt.claims)
    require_app(auth.app, str(dapp.url))
    identity.verify_signer(auth.iss, account, now=now)
    if answer.id is None:
        raise LocalProtocolError("a result always has an id")
    message_hash = auth.sub if isinstance(auth, ReceiptAuth) else None
    return ReadReceipt(answer.id, auth.iss, message_hash)


def _receipt_token(answer: JsonRpcResult | JsonRpcError) -> JsonValue:
    if isinstance(answer, JsonRpcError):
        raise RemoteProtocolError(ErrorCode.REFUSED, answer.message or "refused")
    result = require_object(answer.result, "result")
    return result.get(MESSAGE.result) or result.get(_V1_RESULT)
