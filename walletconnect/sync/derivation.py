"""From an account's signature to the key of a store, the same on every device.

Spec: clients/core/sync/sync-protocol.md, "Generating a message to sign" and following.

    message --wallet signs--> signature text --sha256--> entropy --BIP-39--> seed
    --BIP-32 along the store's name--> store key --sha256--> store topic

No server takes part: the signature of this message gives access to the stores. Signature
and seed are used here and dropped; only store keys are kept.

Departures: the spec prints two spaces in the message where its own signature verifies for
one; it does not mention BIP-39, without which its example does not come out; and the
released client accepts any signature text, which would give one account many stores.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from walletconnect.crypto.ethereum import MAX_S, recover_eip191
from walletconnect.crypto.hd import HARDENED, HdKey, mnemonic_of, seed_of
from walletconnect.crypto.keys import SymKey
from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from walletconnect.identity.did import AccountId

NOTIFY_SUBSCRIPTION_STORE: Final = "com.walletconnect.notify.notifySubscription"

# m/77'/0'/0/…
_PATH_HEAD: Final = (77 + HARDENED, 0 + HARDENED, 0)

_CANONICAL_SIGNATURE = re.compile(r"0x[0-9a-f]{64}([0-9a-f]{64})1[bc]")


def sync_message(account: AccountId) -> str:
    """What the wallet signs, byte for byte: no final newline."""
    return (
        f"I authorize this app to sync my account: {account}\n\n"
        "Read more about it here: https://walletconnect.com/faq"
    )


def check_sync_signature(account: AccountId, signature: str) -> None:
    """Return if `signature` is in canonical form and is the account's, else raise.

    Its *text* is the entropy: `0X`, upper case, v as 00/01 or the other s of the same
    signature would lead to other stores.
    """
    if not account.is_ethereum:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED, "sync needs an eip155 account")
    match = _CANONICAL_SIGNATURE.fullmatch(signature)
    if match is None or int(match[1], 16) > MAX_S:
        raise RemoteProtocolError(
            ErrorCode.MALFORMED,
            "the sync signature must be 0x and 130 lower-case hex digits, s in the "
            "lower half, v 1b or 1c",
        )
    address = recover_eip191(sync_message(account), signature)
    if address.lower() != account.address.lower():
        raise RemoteProtocolError(
            ErrorCode.UNAUTHENTIC, "the sync signature is not the account's"
        )


def _name_slices(store_name: str) -> list[str]:
    """The name in pieces of four UTF-16 code units; newlines separate and vanish.

    That is JavaScript's `name.match(/.{1,4}/g)`, and "0" where nothing matches.
    """
    pieces: list[str] = []
    for line in re.split("[\n\r\u2028\u2029]", store_name):
        units = line.encode("utf-16-le", "surrogatepass")
        pieces += [
            units[start : start + 8].decode("utf-16-le", "surrogatepass")
            for start in range(0, len(units), 8)
        ]
    return pieces or ["0"]


def _derivation_path(store_name: str) -> tuple[int, ...]:
    """The BIP-32 path of a store; from 2**31 on an index is hardened."""
    path = [*_PATH_HEAD]
    for piece in _name_slices(store_name):
        # A slice may cut a surrogate pair, which JavaScript replaces by U+FFFD.
        text = piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        value = int.from_bytes(text.encode(), "big")
        if value >= 2**32:
            raise LocalProtocolError("four letters of a store name exceed 32 bits")
        path.append(value)
    return tuple(path)


def derive_store_keys(signature: str, store_names: Iterable[str]) -> dict[str, SymKey]:
    """The keys of several stores: the slow BIP-39 stretch runs once."""
    entropy = hashlib.sha256(signature.encode()).digest()
    root = HdKey.from_seed(seed_of(mnemonic_of(entropy)))
    return {
        name: SymKey(root.derive(_derivation_path(name)).private_key)
        for name in store_names
    }
