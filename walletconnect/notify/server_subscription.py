"""v1: a subscription as the server lists it. It has no topic, which is the key's hash."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from walletconnect.crypto.keys import SymKey
from walletconnect.identity.did import AccountId, public_key_of
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    require_integer,
    require_object,
    take_integer,
    take_line,
    take_list,
)
from walletconnect.notify.scope import MAX_TYPES, require_scope_name
from walletconnect.notify.values import MAX_URL_LENGTH

_MAX_UNREAD: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ServerSubscription:
    """An element of the claim `sbs`."""

    app_domain: str
    app_authentication_key: str
    sym_key: SymKey = field(repr=False)
    account: AccountId
    scope: tuple[str, ...]
    expiry: int
    unread_notification_count: int = 0

    @classmethod
    def from_value(cls, value: JsonValue) -> ServerSubscription:
        members = require_object(value, "sbs")
        key = take_line(members, "appAuthenticationKey", max_length=MAX_URL_LENGTH)
        public_key_of(key)
        scope = take_list(members, "scope", max_length=MAX_TYPES)
        unread = members.get("unreadNotificationCount", 0)
        return cls(
            app_domain=take_line(members, "appDomain", max_length=MAX_URL_LENGTH),
            app_authentication_key=key,
            sym_key=SymKey.from_hex(members.get("symKey")),
            account=AccountId.parse(members.get("account")),
            scope=tuple(require_scope_name(name) for name in scope),
            expiry=take_integer(members, "expiry"),
            unread_notification_count=require_integer(
                unread, "sbs", maximum=_MAX_UNREAD
            ),
        )

    def to_value(self) -> JsonObject:
        return {
            "appDomain": self.app_domain,
            "appAuthenticationKey": self.app_authentication_key,
            "symKey": self.sym_key.hex(),
            "account": str(self.account),
            "scope": list(self.scope),
            "expiry": self.expiry,
            "unreadNotificationCount": self.unread_notification_count,
        }
