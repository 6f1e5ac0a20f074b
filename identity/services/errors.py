"""Errors of identities, as types that a page can explain and translate.

SignInError
├── UnsupportedAccount    not an Ethereum account, or mistyped
├── ForeignOrigin         the browser is at an address that is not ours
├── RequestUnknown        there is no such message
├── RequestExpired        it is more than ten minutes old
├── RequestUsed           it was used to sign in
├── OtherBrowser          it belongs to another browser session
├── MalformedSignature    the text is not a signature
├── WrongSigner           signed, but by another address than expected
│   └── TextDiffers       by the right one, with white space added to the text
└── ContractError         the signature of a smart-contract wallet is not proven
    ├── SignatureRefused  its contract does not accept it
    ├── NoChainEndpoint   this server has no JSON-RPC endpoint for its chain
    └── ChainUnavailable  the endpoint gives no usable answer now
NoIdentityKey             the account has no registered identity key
KeysServerUnavailable     another Keys Server has not answered yet: try later
KeysServerRefusal         an error answer of our Keys Server
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.problems import Problem, ProblemError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from walletconnect.identity.cacao import Cacao


class SignInError(Exception):
    """A sign-in failed. ``str`` is a sentence for the user."""

    #: A short name for logs, audit entries and templates.
    kind = "sign-in"


class UnsupportedAccount(SignInError):
    kind = "unsupported-account"

    def __init__(self) -> None:
        super().__init__(
            "This is not an Ethereum address, or it was mistyped: its checksum (the "
            "capital letters) is wrong."
        )


class ForeignOrigin(SignInError):
    kind = "foreign-origin"

    def __init__(self, origin: str, expected: str) -> None:
        super().__init__(
            "This page was opened at an address that is not this server's. Open "
            f"{expected} and sign in there."
        )
        self.origin = origin
        self.expected = expected


class RequestUnknown(SignInError):
    kind = "request-unknown"

    def __init__(self) -> None:
        super().__init__("This message was not made here. Ask for a new one.")


class RequestExpired(SignInError):
    kind = "request-expired"

    def __init__(self, address: str) -> None:
        super().__init__("This message is more than ten minutes old. Make a new one.")
        self.address = address


class RequestUsed(SignInError):
    kind = "request-used"

    def __init__(self, address: str) -> None:
        super().__init__("This message was used to sign in already. Make a new one.")
        self.address = address


class OtherBrowser(SignInError):
    kind = "other-browser"

    def __init__(self) -> None:
        super().__init__(
            "This message was made in another browser or session. Make a new one here."
        )


class MalformedSignature(SignInError):
    kind = "malformed-signature"

    def __init__(self) -> None:
        super().__init__(
            "This is not a signature. A signature has 130 (or 128) hexadecimal digits, "
            "with or without 0x."
        )


class WrongSigner(SignInError):
    kind = "wrong-signer"

    def __init__(
        self, signed_by: str, expected: str, *, unchecked_chain: int | None = None
    ) -> None:
        text = (
            f"This signature is from {_short(signed_by)}. Expected was "
            f"{_short(expected)}."
        )
        if unchecked_chain is not None:
            # A contract wallet often signs with a key of its owner.
            text += (
                " If that is a smart-contract wallet: this server has no JSON-RPC "
                f"endpoint for chain {unchecked_chain}; its operator can add one with "
                "the setting NOTIFYWEB_RPC_URLS."
            )
        super().__init__(text)
        self.signed_by = signed_by
        self.expected = expected


class TextDiffers(WrongSigner):
    """``added`` names the white space that was signed with the text."""

    def __init__(self, added: Sequence[str], signed_by: str, expected: str) -> None:
        super().__init__(signed_by, expected)
        self.args = (f"The account signed the text with {' and '.join(added)}.",)
        self.added = added


class NoIdentityKey(Exception):
    """No device of the account has a registered identity key.

    ``pending``: one was created, but its Keys Server has not confirmed it yet.
    """

    def __init__(self, account: str, *, pending: bool) -> None:
        super().__init__("the account has no registered identity key")
        self.account = account
        self.pending = pending


class ContractError(SignInError):
    """The signature of a smart-contract wallet is not proven. ``str`` is a sentence."""

    kind = "contract"


class SignatureRefused(ContractError):
    kind = "contract-refused"

    def __init__(self, chain_id: int) -> None:
        super().__init__(
            f"The wallet's contract on chain {chain_id} does not accept this "
            "signature, or the address belongs to a contract on another chain here. "
            "For a wallet on another chain, give the account with its chain, such "
            "as eip155:10:0x…"
        )
        self.chain_id = chain_id


class NoChainEndpoint(ContractError):
    kind = "no-chain-endpoint"

    def __init__(self, chain_id: int) -> None:
        super().__init__(
            "Signatures of smart-contract wallets on this chain cannot be checked "
            f"here: this server has no JSON-RPC endpoint for chain {chain_id}. Its "
            "operator can add one with the setting NOTIFYWEB_RPC_URLS."
        )
        self.chain_id = chain_id


class ChainUnavailable(ContractError):
    kind = "chain-unavailable"

    def __init__(self, chain_id: int, reason: str) -> None:
        super().__init__(
            f"The signature cannot be checked now: chain {chain_id} does not answer "
            f"({reason}). Try again in a minute."
        )
        self.chain_id = chain_id
        self.reason = reason


class KeysServerUnavailable(Exception):
    """Another Keys Server has not answered yet, or not usefully.

    ``unresolved`` are the did:keys without a result; ``resolved`` has the others.
    """

    def __init__(
        self, unresolved: Collection[str], resolved: Mapping[str, Cacao]
    ) -> None:
        super().__init__("a Keys Server is not available")
        self.unresolved = frozenset(unresolved)
        self.resolved = dict(resolved)


class KeysServerRefusal(ProblemError):
    """An error answer of our Keys Server; ``name`` is what clients compare."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(Problem(name, name, status, message))


def not_found(entity: str, identifier: str) -> KeysServerRefusal:
    return KeysServerRefusal(
        404,
        f"{entity} not found",
        f"Cannot find {entity} with specified identifier {identifier}",
    )


def _short(address: str) -> str:
    return f"{address[:6]}…{address[-4:]}"
