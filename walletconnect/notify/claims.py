"""The claim sets of the Notify API, one class per `act`.

Spec: clients/notify/notify-authentication.md. The acts that only v1 has are in
`walletconnect.notify.watch_claims`; what they share is here.

Both versions are read and written (`walletconnect.notify.dialect`); a claim of the other
version is None. Fields have the names of the claims, in the order in which the released
clients and servers write them.

    token = SubscriptionAuth(iat=now, exp=..., iss=..., ...).sign(key)
    auth = SubscriptionAuth.read(token, now=now, aud=dapp_key.did, ksu=allowed)
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Self

from walletconnect.crypto.keys import hash_text
from walletconnect.errors import LocalProtocolError
from walletconnect.identity.did import (
    AccountId,
    account_of,
    public_key_of,
)
from walletconnect.identity.jwt import DidJwt, sign_did_jwt
from walletconnect.json_values import (
    MAX_SAFE_INTEGER,
    JsonObject,
    JsonValue,
    dump_json,
    malformed,
    require_integer,
    require_line,
    require_object,
)
from walletconnect.notify.scope import join_scope, split_scope
from walletconnect.notify.server_subscription import ServerSubscription
from walletconnect.notify.values import (
    MAX_URL_LENGTH,
    NotifyMessage,
)
from walletconnect.relay.methods import THIRTY_DAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from walletconnect.crypto.signing import IdentityKey

# The `sub` of a v0 delete is a free text; this one is what the released wallets write.
DELETE_REASON: Final = "User unsubscribed."

_MAX_SUBSCRIPTIONS = 1000
_MAX_APP_LENGTH = 263  # did:web: and a host with a path of 255 characters
_MAX_VERSION_LENGTH = 16


def _read_subscriptions(value: JsonValue) -> tuple[ServerSubscription, ...]:
    if not isinstance(value, list) or len(value) > _MAX_SUBSCRIPTIONS:
        raise malformed("claim sbs")
    return tuple(ServerSubscription.from_value(each) for each in value)


def _read_scope(value: JsonValue) -> tuple[str, ...]:
    if not isinstance(value, str):
        raise malformed("claim scp")
    return split_scope(value)


def _read_messages(value: JsonValue) -> tuple[NotifyMessage, ...]:
    if not isinstance(value, list) or len(value) > _MAX_SUBSCRIPTIONS:
        raise malformed("claim nfs")
    return tuple(NotifyMessage.from_value(each) for each in value)


def _read_ids(value: JsonValue) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MAX_SUBSCRIPTIONS:
        raise malformed("claim ids")
    return tuple(_read_line(each) for each in value)


def _read_time(value: JsonValue) -> int:
    return require_integer(value, "claim time", maximum=MAX_SAFE_INTEGER)


def _read_line(value: JsonValue, max_length: int = MAX_URL_LENGTH) -> str:
    # Seven of these per token: no detour through the general readers.
    if isinstance(value, str) and len(value) <= max_length and value.isprintable():
        return value
    return require_line(value, "claim", max_length=max_length)


def _read_object(value: JsonValue) -> JsonObject:
    return require_object(value, "claim msg")


def _read_flag(value: JsonValue) -> bool:
    if not isinstance(value, bool):
        raise malformed("claim")
    return value


# A claim means the same in every act: one table reads them all.
_READERS: Final[dict[str, Callable[[JsonValue], object]]] = {
    "iat": _read_time,
    "exp": _read_time,
    "iss": _read_line,
    "aud": _read_line,
    "sub": _read_line,
    "ksu": _read_line,
    "app": partial(_read_line, max_length=_MAX_APP_LENGTH),
    "mjv": partial(_read_line, max_length=_MAX_VERSION_LENGTH),
    "scp": _read_scope,
    "msg": _read_object,
    "sbs": _read_subscriptions,
    "lmt": _read_time,
    "aft": _read_line,
    "urf": _read_flag,
    "nfs": _read_messages,
    "mre": _read_flag,
    "mur": _read_flag,
    "all": _read_flag,
    "ids": _read_ids,
}


def _write(name: str, value: object) -> JsonValue:
    if name == "scp" and isinstance(value, tuple):
        return join_scope(value)
    if isinstance(value, tuple):
        return [_write("", each) for each in value]
    if isinstance(value, (ServerSubscription, NotifyMessage)):
        return value.to_value()
    if isinstance(value, (str, int, dict)):
        return value
    raise LocalProtocolError(f"claim {name} has no JSON form")


_NAMES: Final[dict[type[Claims], tuple[str, ...]]] = {}


def _names(claim_set: type[Claims]) -> tuple[str, ...]:
    names = _NAMES.get(claim_set)
    if names is None:
        names = _NAMES[claim_set] = tuple(each.name for each in fields(claim_set))
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What all acts share. `mjv` is None in v0, "1" in the last released client of v1."""

    act: ClassVar[str]
    # The max_length that any released client or server gives this token, in seconds.
    max_life: ClassVar[int] = THIRTY_DAYS
    # Claims that are written as null when they are None; others are left out.
    nullable: ClassVar[frozenset[str]] = frozenset()

    iat: int
    exp: int
    iss: str
    mjv: str | None = None

    @classmethod
    def from_claims(cls, claims: JsonObject) -> Self:
        """The claim set in `claims`; `DidJwt.verify` comes before."""
        if claims.get("act") != cls.act:
            raise malformed("claim act")
        values = {
            name: _READERS[name](claims[name])
            for name in _names(cls)
            if claims.get(name) is not None
        }
        try:
            return cls(**values)  # type: ignore[arg-type]  # typed by _READERS
        except TypeError:
            # A claim without a default is absent.
            raise malformed(f"claims of {cls.act}") from None

    def to_claims(self) -> JsonObject:
        claims: JsonObject = {"act": self.act}
        for name in _names(type(self)):
            value = getattr(self, name)
            if value is not None:
                claims[name] = _write(name, value)
            elif name in self.nullable:
                claims[name] = None
        return claims

    def sign(self, key: IdentityKey) -> str:
        if self.iss != key.did:
            raise LocalProtocolError("claim iss is not the signer")
        return sign_did_jwt(self.to_claims(), key)

    @classmethod
    def read(
        cls,
        token: object,
        *,
        now: int,
        iss: str | None = None,
        aud: str | None = None,
        sub: str | None = None,
        app: str | None = None,
        ksu: Collection[str] | None = None,
    ) -> Self:
        """Parse, verify strictly (see `DidJwt.verify`), and read a token of this act."""
        jwt = DidJwt.parse(token).verify(
            now=now,
            act=cls.act,
            max_life=cls.max_life,
            iss=iss,
            aud=aud,
            sub=sub,
            app=app,
            ksu=ksu,
        )
        return cls.from_claims(jwt.claims)


class FromAccount:
    """Acts whose `sub` is the did:pkh of the account."""

    __slots__ = ()
    sub: str

    @property
    def account(self) -> AccountId:
        return account_of(self.sub)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionAuth(FromAccount, Claims):
    """Wallet to server, step 5: this account wants these types."""

    act = "notify_subscription"

    sub: str
    aud: str
    ksu: str
    scp: tuple[str, ...]
    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionResponseAuth(Claims):
    """Server to wallet, step 13.

    In v0 `sub` is the did:key of Z, with the Ed25519 prefix although Z is an X25519 key,
    because the released client accepts no other. In v1 it is the account, and the keys are
    in `sbs`.
    """

    act = "notify_subscription_response"

    ksu: str | None = None
    aud: str
    sub: str
    app: str
    sbs: tuple[ServerSubscription, ...] | None = None

    @property
    def public_key_z(self) -> bytes:
        return public_key_of(self.sub)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAuth(Claims):
    """Server to wallet: a notification.

    v0: `aud` is the account and `sub` the hash of the subscriptionAuth (after an update,
    of the updateAuth). v1: no `aud`, and `sub` is the account.
    """

    act = "notify_message"

    ksu: str | None = None
    aud: str | None = None
    sub: str
    app: str
    msg: JsonObject

    @property
    def account(self) -> AccountId:
        return account_of(self.sub if self.aud is None else self.aud)

    @property
    def message(self) -> NotifyMessage:
        return NotifyMessage.from_value(self.msg)

    @property
    def message_hash(self) -> str:
        """For the receipt: hashes the text that `JSON.stringify` makes of `msg`."""
        return hash_text(dump_json(self.msg))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptAuth(Claims):
    """Wallet to server: the notification arrived. `sub` is its hash. v0 only."""

    act = "notify_receipt"

    aud: str
    sub: str
    app: str
    ksu: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageResponseAuth(FromAccount, Claims):
    """The receipt of v1."""

    act = "notify_message_response"

    aud: str
    sub: str
    app: str
    ksu: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateAuth(FromAccount, Claims):
    """Wallet to server: from now on these types."""

    act = "notify_update"

    aud: str
    sub: str
    app: str
    ksu: str
    scp: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResponseAuth(Claims):
    """Server to wallet. `sub` is the hash of the updateAuth; in v1 the account."""

    act = "notify_update_response"

    ksu: str | None = None
    aud: str
    sub: str
    app: str
    sbs: tuple[ServerSubscription, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAuth(Claims):
    """Wallet to server: the subscription ends. `sub` is a free text in v0.

    There the account is taken from the CACAO of `iss` and compared with the subscription.
    """

    act = "notify_delete"

    aud: str
    sub: str
    ksu: str
    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResponseAuth(Claims):
    """Server to wallet. `sub` is the hash of the last subscriptionAuth or updateAuth."""

    act = "notify_delete_response"

    ksu: str | None = None
    aud: str
    sub: str
    app: str
    sbs: tuple[ServerSubscription, ...] | None = None
