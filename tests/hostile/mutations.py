"""Valid messages with one random change, signed and sealed with the right keys.

This is the strongest attacker: it holds every key of the honest sender. Seeds are fixed, so
that every run uses the same messages.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common import entropy
from walletconnect.crypto.base64url import decode_base64url, encode_base64url
from walletconnect.crypto.envelope import Envelope, seal

if TYPE_CHECKING:
    import random

    from walletconnect.crypto.keys import SymKey
    from walletconnect.crypto.signing import IdentityKey


def deep(levels: int) -> object:
    """A list that json.loads accepts and json.dumps refuses because of its depth."""
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


# Values that break careless code: types, bounds, characters, depth.
STRANGE: list[object] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
    10**30,
    10**400,
    0.5,
    -0.0,
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ud800",
    "\u2028",
    "\u202e",
    "é" * 300,
    "a" * 10_000,
    "0" * 64,
    "F" * 64,
    "9" * 40,
    "-1",
    "1e9",
    "null",
    "{}",
    "a.b.c",
    "did:key:z6Mk",
    "did:key:" + "z" * 5000,
    "did:pkh:eip155:1:0x",
    "did:pkh:eip155:1:0x" + "0" * 40,
    "did:web:",
    "did:web:localhost%3A80",
    "http://",
    "https://a:99999/",
    "https://[::1",
    "javascript:alert(1)",
    "alerts alerts",
    "alerts  news",
    [],
    {},
    [None],
    ["a"] * 2000,
    {"": ""},
    {"a" * 5000: 1},
    {"__proto__": {"a": 1}},
    deep(40),
    deep(300),
]


@dataclass(frozen=True)
class Original:
    """A valid message and the keys of its sender."""

    topic: str
    message: str
    tag: int
    sym_key: SymKey
    signer: IdentityKey | None = None

    def changed_once(self, random: random.Random) -> tuple[str, str, int]:
        """The message with one change, as (topic, message, tag)."""
        envelope = Envelope.decode(self.message)
        payload = json.loads(envelope.open(self.sym_key))
        place = _token_place(payload)
        if place is None:
            _change_inside(payload, random)
        else:
            members, name = place
            if random.random() < 0.15:
                change_once(payload, random)
            else:
                members[name] = self._resigned(members[name], random)
        # The token is missing or broken, so there is nothing to sign.
        text = json.dumps(payload, ensure_ascii=True)
        sealed = seal(
            text, self.sym_key, iv=entropy.iv(), sender=envelope.sender_public_key
        )
        return self.topic, sealed, self.tag

    def _resigned(self, token: str, random: random.Random) -> str:
        assert self.signer is not None
        header, claims, _ = token.split(".")
        changed = json.loads(decode_base64url(claims))
        change_once(changed, random)
        claims_part = encode_base64url(json.dumps(changed, ensure_ascii=True).encode())
        signature = self.signer.sign(f"{header}.{claims_part}".encode())
        return f"{header}.{claims_part}.{encode_base64url(signature)}"


def garbled(original: Original, random: random.Random) -> tuple[str, str, int]:
    """The envelope with one byte changed, so that it does not open."""
    sealed = bytearray(base64.b64decode(original.message))
    sealed[random.randrange(len(sealed))] ^= 1 << random.randrange(8)
    return original.topic, base64.b64encode(sealed).decode(), original.tag


def _token_place(payload: Any) -> tuple[dict[str, Any], str] | None:
    for part in ("params", "result"):
        members = payload.get(part)
        if isinstance(members, dict):
            for name, value in members.items():
                if isinstance(value, str) and value.startswith("eyJ"):
                    return members, name
    return None


def _change_inside(payload: Any, random: random.Random) -> None:
    """Also changes JSON inside strings, as in the values of a store."""
    params = payload.get("params")
    value = params.get("value") if isinstance(params, dict) else None
    if isinstance(value, str) and random.random() < 0.7:
        inner = json.loads(value)
        change_once(inner, random)
        params["value"] = json.dumps(inner)
    else:
        change_once(payload, random)


def change_once(value: Any, random: random.Random) -> None:
    """Remove, add or replace one member of a JSON value."""
    container, key = random.choice(list(_places(value)))
    act = random.random()
    if act < 0.1:
        del container[key]
    elif act < 0.2 and isinstance(container, dict):
        container["more"] = random.choice(STRANGE)
    else:
        container[key] = random.choice(STRANGE)


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list) and inner:
            yield from _places(inner)
