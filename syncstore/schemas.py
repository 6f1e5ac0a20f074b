"""The two texts that carry store keys to another server, as JSON in base64url.

    request   what the new device shows: its account, server, name and X25519 key
    answer    the store keys, sealed to that key in an envelope of type 1

People copy them, or scan them, so each is one string without blanks, with a prefix for its kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from walletconnect.crypto.base64url import decode_base64url, encode_base64url
from walletconnect.crypto.envelope import Envelope, seal
from walletconnect.crypto.keys import (
    KEY_LENGTH,
    KeyPair,
    SymKey,
    check_public_key,
    derive_sym_key,
)
from walletconnect.identity.did import AccountId
from walletconnect.json_values import (
    dump_json,
    malformed,
    parse_object,
    require_text,
    take_integer,
    take_line,
    take_object,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from walletconnect.json_values import JsonObject, JsonValue

REQUEST_PREFIX: Final = "notifyweb-key-request."
ANSWER_PREFIX: Final = "notifyweb-key-answer."
MAX_TEXT_LENGTH: Final = 4_000
MAX_SERVER_LENGTH: Final = 200
MAX_DEVICE_LENGTH: Final = 64
MAX_ACCOUNT_LENGTH: Final = 168
MAX_STORES: Final = 16
MAX_STORE_NAME_LENGTH: Final = 128
MAX_TIME: Final = 2**40


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """``until`` is in seconds since 1970."""

    account: AccountId
    server: str
    device: str
    public_key: bytes
    until: int

    @classmethod
    def parse(cls, text: str) -> KeyRequest:
        members = _members(text, REQUEST_PREFIX, "key request")
        key = decode_base64url(take_line(members, "key", max_length=64))
        if len(key) != KEY_LENGTH:
            raise malformed("key request")
        account = take_line(members, "account", max_length=MAX_ACCOUNT_LENGTH)
        return cls(
            AccountId.parse(account),
            take_line(members, "server", max_length=MAX_SERVER_LENGTH),
            take_line(members, "device", max_length=MAX_DEVICE_LENGTH),
            check_public_key(key),
            take_integer(members, "until", minimum=0, maximum=MAX_TIME),
        )

    def encode(self) -> str:
        members: dict[str, JsonValue] = {
            "account": str(self.account),
            "server": self.server,
            "device": self.device,
            "key": encode_base64url(self.public_key),
            "until": self.until,
        }
        return REQUEST_PREFIX + encode_base64url(dump_json(members).encode())


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """The keys of the account's stores, by their names."""

    account: AccountId
    stores: Mapping[str, SymKey] = field(repr=False)

    def sealed_to(self, public_key: bytes, *, ephemeral: KeyPair, iv: bytes) -> str:
        members: dict[str, JsonValue] = {
            "account": str(self.account),
            "stores": {name: key.hex() for name, key in self.stores.items()},
        }
        sealed = seal(
            dump_json(members),
            derive_sym_key(ephemeral, public_key),
            iv=iv,
            sender=ephemeral.public_key,
        )
        return ANSWER_PREFIX + encode_base64url(sealed.encode())

    @classmethod
    def open(cls, text: str, key_pair: KeyPair) -> KeyAnswer:
        envelope = Envelope.decode(_body(text, ANSWER_PREFIX, "key answer"))
        opened = envelope.open(envelope.derive_sym_key(key_pair))
        members = parse_object(opened, "key answer")
        stores = take_object(members, "stores")
        if not 0 < len(stores) <= MAX_STORES:
            raise malformed("key answer")
        account = take_line(members, "account", max_length=MAX_ACCOUNT_LENGTH)
        return cls(
            AccountId.parse(account),
            {
                require_text(name, "store", max_length=MAX_STORE_NAME_LENGTH): (
                    SymKey.from_hex(key)
                )
                for name, key in stores.items()
            },
        )


def _members(text: str, prefix: str, what: str) -> JsonObject:
    return parse_object(_body(text, prefix, what), what)


def _body(text: str, prefix: str, what: str) -> str:
    word = "".join(text.split())
    if not word.startswith(prefix) or len(word) > MAX_TEXT_LENGTH:
        raise malformed(what)
    try:
        return decode_base64url(word.removeprefix(prefix)).decode()
    except UnicodeDecodeError:
        raise malformed(what) from None
