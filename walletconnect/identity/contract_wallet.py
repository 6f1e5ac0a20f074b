"""What a smart-contract wallet signs, and how its chain is asked whether it did.

Spec: EIP-1271, EIP-6492 (signature verification by a deployless call).

A contract's signature is whatever its `isValidSignature` accepts, so only a node of its
chain can verify one. This module makes the call and reads the answer; the caller does
the network part. The call creates the reference validator of EIP-6492 in an `eth_call`: it
deploys a counterfactual wallet, asks a deployed one, and returns one byte from its
constructor.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.json_values import (
    JsonObject,
    dump_json,
    malformed,
    parse_object,
    take_line,
)

MAX_SIGNATURE_BYTES: Final = 8 * 1024
_MAX_CHAIN_ID: Final = 2**53 - 1
_WORD: Final = 32
# Three arguments: address, hash, and the offset of the signature behind them.
_SIGNATURE_OFFSET: Final = 3 * _WORD

_HEX_BYTES = re.compile(r"0x((?:[0-9a-fA-F]{2})+)")


@dataclass(frozen=True, slots=True)
class ContractCheck:
    """The question whether the contract at `address` accepts `signature`.

    `hashes` are of the texts that a released builder makes of one message; the signature
    counts if the contract accepts it for any of them.
    """

    chain_id: int
    address: str
    hashes: tuple[bytes, ...]
    signature: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        members: JsonObject = {
            "chain": str(self.chain_id),
            "address": self.address,
            "hashes": " ".join(each.hex() for each in self.hashes),
            "signature": "0x" + self.signature.hex(),
        }
        return dump_json(members)

    @classmethod
    def from_json(cls, text: str) -> ContractCheck:
        members = parse_object(text, "contract check")
        hashes = take_line(members, "hashes", max_length=1024).split()
        return cls(
            chain_id=int(take_line(members, "chain", max_length=16)),
            address=take_line(members, "address", max_length=42),
            hashes=tuple(bytes.fromhex(each) for each in hashes),
            signature=read_signature(
                take_line(members, "signature", max_length=3 * MAX_SIGNATURE_BYTES)
            ),
        )

    def calls(self, validator: bytes) -> tuple[str, ...]:
        """The `data` of an `eth_call` for each hash, as 0x and hex.

        `validator` is the creation bytecode of the reference contract; its arguments
        (address, bytes32, bytes) follow it.
        """
        padding = -len(self.signature) % _WORD
        return tuple(
            "0x"
            + b"".join(
                (
                    validator,
                    bytes.fromhex(self.address[2:]).rjust(_WORD, b"\0"),
                    each,
                    _SIGNATURE_OFFSET.to_bytes(_WORD, "big"),
                    len(self.signature).to_bytes(_WORD, "big"),
                    self.signature,
                    bytes(padding),
                )
            ).hex()
            for each in self.hashes
        )


class ContractCheckNeeded(RemoteProtocolError):
    """Everything else is valid; the chain decides about the signature."""

    def __init__(self, check: ContractCheck) -> None:
        super().__init__(
            ErrorCode.UNSUPPORTED, "the signature needs a check by the account's chain"
        )
        self.check = check


def read_signature(text: str) -> bytes:
    """The bytes of a contract's signature: 0x and hex of any length up to the limit."""
    match = _HEX_BYTES.fullmatch(text)
    if match is None:
        raise RemoteProtocolError(ErrorCode.UNAUTHENTIC, "signature does not fit")
    if len(match[1]) > 2 * MAX_SIGNATURE_BYTES:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, "signature too large")
    return bytes.fromhex(match[1])


def read_chain_id(reference: str) -> int:
    """The chain id in the reference of an `eip155` account."""
    if not reference.isascii() or not reference.isdecimal() or len(reference) > 16:
        raise malformed("chain id")
    chain_id = int(reference)
    if not 0 < chain_id <= _MAX_CHAIN_ID:
        raise malformed("chain id")
    return chain_id


def read_verdict(result: object) -> bool:
    """What the validator returned: one byte, or a word where a node pads it."""
    text = result if isinstance(result, str) else ""
    if not re.fullmatch(r"0x(0{62})?0[01]", text):
        raise malformed("answer of the signature validator")
    return text.endswith("1")
