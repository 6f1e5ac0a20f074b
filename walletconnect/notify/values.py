"""What a subscription and a notification are made of.

Spec: clients/notify/data-structures.md.

`from_value` reads JSON that a hostile peer may have written: a device of the same account
can put anything into the sync store. `to_value` gives the camelCase of the wire back, with
the members in the order in which the released client writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, TypeGuard

from walletconnect.crypto.keys import SymKey, Topic, parse_topic
from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from walletconnect.identity.did import AccountId, AppUrl
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    dump_json,
    has_control_characters,
    malformed,
    parse_object,
    require_object,
    require_text,
    shown_line,
    take_integer,
    take_line,
    take_object,
)
from walletconnect.notify.methods import SUBSCRIPTION_LIFE
from walletconnect.notify.scope import (
    MAX_NAME_LENGTH,
    MAX_TEXT_LENGTH,
    ScopeMap,
    require_scope_name,
)

_RELAY_PROTOCOL: Final = "irn"

MAX_URL_LENGTH: Final = 2048
_MAX_ICONS: Final = 16

# Seconds, not milliseconds: 10**11 seconds is the year 5138.
_MAX_EXPIRY: Final = 10**11 - 1


@dataclass(frozen=True, slots=True)
class Metadata:
    """The dapp; `url` is exactly what the wallet was given."""

    name: str
    description: str
    url: str
    icons: tuple[str, ...] = ()
    redirect_native: str | None = None
    redirect_universal: str | None = None

    @classmethod
    def from_value(cls, value: JsonValue) -> Metadata:
        members = require_object(value, "metadata")
        redirect = members.get("redirect")
        links = redirect if isinstance(redirect, dict) else {}
        description = members.get("description")
        if isinstance(description, str) and "\x00" in description:
            raise malformed("description")
        return cls(
            name=shown_line(
                require_text(members.get("name"), "name", max_length=MAX_URL_LENGTH),
                max_length=MAX_NAME_LENGTH,
            ),
            description=shown_line(description, max_length=MAX_TEXT_LENGTH),
            url=take_line(members, "url", max_length=MAX_URL_LENGTH),
            icons=read_icons(members.get("icons")),
            redirect_native=_optional_link(links.get("native")),
            redirect_universal=_optional_link(links.get("universal")),
        )

    def to_value(self) -> JsonObject:
        members: JsonObject = {
            "name": self.name,
            "description": self.description,
            "icons": list(self.icons),
            "url": self.url,
        }
        redirect: JsonObject = {}
        if self.redirect_native is not None:
            redirect["native"] = self.redirect_native
        if self.redirect_universal is not None:
            redirect["universal"] = self.redirect_universal
        return {**members, "redirect": redirect} if redirect else members


def read_icons(value: JsonValue) -> tuple[str, ...]:
    """The usable icons of a list; whatever else it holds is left out."""
    icons = value if isinstance(value, list) else []
    return tuple(icon for icon in icons[:_MAX_ICONS] if _is_link(icon))


def _is_link(value: JsonValue) -> TypeGuard[str]:
    return (
        isinstance(value, str) and shown_line(value, max_length=MAX_URL_LENGTH) == value
    )


def _optional_link(value: JsonValue) -> str | None:
    return value if _is_link(value) else None


@dataclass(frozen=True, slots=True)
class NotifySubscription:
    """One account's subscription to one dapp: what devices share through the sync store.

    Departure: the released client accepts any `topic`; here it must be the hash of
    `symKey`, or a peer could make us subscribe to a topic of its choice.
    """

    topic: Topic
    account: AccountId
    metadata: Metadata
    scope: ScopeMap
    expiry: int
    sym_key: SymKey = field(repr=False)
    relay_protocol: str = _RELAY_PROTOCOL

    def __post_init__(self) -> None:
        if self.topic != self.sym_key.topic:
            raise LocalProtocolError("a notify topic is the hash of its symmetric key")

    @property
    def app(self) -> str:
        """The claim `app`: the dapp URL as the wallet was given it."""
        return self.metadata.url

    @property
    def app_did(self) -> str:
        """The claim `app` of v1: the same dapp as a did:web."""
        return AppUrl.parse(self.app).did

    def is_expired(self, now: int) -> bool:
        return self.expiry <= now

    def with_scope(self, scope: ScopeMap, *, now: int) -> NotifySubscription:
        """After an update: the new scope, and a new expiry."""
        return replace(self, scope=scope, expiry=now + SUBSCRIPTION_LIFE)

    @classmethod
    def from_value(cls, value: JsonValue) -> NotifySubscription:
        members = require_object(value, "notify subscription")
        sym_key = SymKey.from_hex(members.get("symKey"))
        topic = parse_topic(members.get("topic"))
        if topic != sym_key.topic:
            raise RemoteProtocolError(
                ErrorCode.MISMATCH, "topic is not the hash of symKey"
            )
        relay = take_object(members, "relay")
        if relay.get("protocol") != _RELAY_PROTOCOL:
            raise RemoteProtocolError(
                ErrorCode.UNSUPPORTED, "relay protocol is not irn"
            )
        return cls(
            topic=topic,
            account=AccountId.parse(members.get("account")),
            metadata=Metadata.from_value(members.get("metadata")),
            scope=ScopeMap.from_value(members.get("scope")),
            expiry=take_integer(members, "expiry", minimum=1, maximum=_MAX_EXPIRY),
            sym_key=sym_key,
        )

    @classmethod
    def from_json(cls, text: str) -> NotifySubscription:
        return cls.from_value(parse_object(text, "notify subscription"))

    def to_value(self) -> JsonObject:
        """Holds the secret `symKey`: for the sync store and for export only."""
        return {
            "topic": self.topic,
            "account": str(self.account),
            "relay": {"protocol": self.relay_protocol},
            "metadata": self.metadata.to_value(),
            "scope": self.scope.to_value(),
            "expiry": self.expiry,
            "symKey": self.sym_key.hex(),
        }

    def to_json(self) -> str:
        return dump_json(self.to_value())


_MAX_TITLE_LENGTH: Final = 64
_MAX_BODY_LENGTH: Final = 255
_MAX_LINK_LENGTH: Final = 255
_MAX_TYPE_LENGTH: Final = 36

# Incoming text may come from servers with laxer limits: beyond ours it is cut, not lost.
_CUT_TITLE: Final = 256
_CUT_BODY: Final = 4096


# What the dapp chooses; the other fields of NotifyMessage come from its server.
CONTENT_FIELDS: Final = ("type", "title", "body", "icon", "url")


@dataclass(frozen=True, slots=True)
class NotifyMessage:
    """A notification: the claim `msg`.

    `id`, `sent_at` (milliseconds) and `is_read` exist in v1 only.
    """

    title: str
    body: str
    type: str
    icon: str = ""
    url: str = ""
    id: str | None = None
    sent_at: int | None = None
    is_read: bool | None = None

    def check_outgoing(self) -> NotifyMessage:
        """Return self if a dapp may send this; limits in characters."""
        limits = {
            "title": (self.title, 1, _MAX_TITLE_LENGTH),
            "body": (self.body, 1, _MAX_BODY_LENGTH),
            "icon": (self.icon, 0, _MAX_LINK_LENGTH),
            "url": (self.url, 0, _MAX_LINK_LENGTH),
        }
        for name, (text, minimum, maximum) in limits.items():
            if not minimum <= len(text) <= maximum:
                raise RemoteProtocolError(
                    ErrorCode.TOO_LARGE if len(text) > maximum else ErrorCode.MALFORMED,
                    f"{name} must have {minimum} to {maximum} characters",
                )
        if has_control_characters(self.title + self.icon + self.url):
            raise malformed("title, icon or url")
        require_scope_name(self.type)
        return self

    @classmethod
    def from_value(cls, value: JsonValue) -> NotifyMessage:
        """Read a received notification leniently: too long is cut, absent is empty."""
        members = require_object(value, "notification")
        if not isinstance(members.get("title"), str):
            raise malformed("notification")
        sent_at = members.get("sent_at")
        is_read = members.get("is_read")
        message_id = members.get("id")
        return cls(
            title=_lenient(members, "title", _CUT_TITLE),
            body=_lenient(members, "body", _CUT_BODY),
            type=_lenient(members, "type", _MAX_TYPE_LENGTH),
            icon=_lenient(members, "icon", MAX_URL_LENGTH),
            url=_lenient(members, "url", MAX_URL_LENGTH),
            id=None if message_id is None else _lenient(members, "id", MAX_NAME_LENGTH),
            sent_at=sent_at if type(sent_at) is int else None,
            is_read=is_read if isinstance(is_read, bool) else None,
        )

    def to_value(self) -> JsonObject:
        """The claim `msg`: five members in v0, eight in v1."""
        members: JsonObject = {
            "title": self.title,
            "body": self.body,
            "icon": self.icon,
            "url": self.url,
            "type": self.type,
        }
        if self.id is None:
            return members
        return {
            "id": self.id,
            "sent_at": self.sent_at,
            **members,
            "is_read": bool(self.is_read),
        }


def _lenient(members: JsonObject, name: str, max_length: int) -> str:
    value = members.get(name)
    return value[:max_length].replace("\x00", "") if isinstance(value, str) else ""
