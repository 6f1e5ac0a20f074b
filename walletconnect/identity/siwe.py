"""The text that a wallet signs for a CACAO: Sign-In with Ethereum, as each builder writes it.

Spec: EIP-4361, ERC-5573 (recaps).

The text is rebuilt from the payload, and builders disagree about it: an empty statement
takes a line of its own in 2023 and none in 2024. `SignedText.texts` gives every text that a
released builder makes; they mean the same, so a signature under any is accepted.

A recap adds a sentence to the statement. Builders of 2023 leave it out, but never made a
recap either: only the text that *shows* the sentence is accepted, since a user can consent
only to what the wallet displayed.
"""

from __future__ import annotations

from binascii import a2b_base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import JsonValue, malformed, parse_object, require_object

if TYPE_CHECKING:
    from walletconnect.identity.did import AccountId

_RECAP: Final = "urn:recap:"
_RECAP_SENTENCE: Final = (
    "I further authorize the stated URI to perform the following actions on my behalf: "
)

_MAX_ABILITIES: Final = 64


@dataclass(frozen=True, slots=True)
class SignedText:
    """The fields of the message, as strings of the payload."""

    domain: str
    account: AccountId
    statement: str | None
    uri: str
    version: str
    nonce: str
    issued_at: str
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None

    def build(self, *, empty_line: bool = True) -> str:
        """The text; with `empty_line`, an empty statement has a line of its own."""
        statement = self.statement
        recap = recap_of(self.resources)
        if recap is not None and _RECAP_SENTENCE not in (statement or ""):
            statement = f"{statement} {recap.sentence}" if statement else recap.sentence
        lines = [
            f"{self.domain} wants you to sign in with your Ethereum account:",
            self.account.address,
            "",
        ]
        if statement or (statement is not None and empty_line):
            lines.append(statement)
        lines += [
            "",
            f"URI: {self.uri}",
            f"Version: {self.version}",
            f"Chain ID: {self.account.reference}",
            f"Nonce: {self.nonce}",
            f"Issued At: {self.issued_at}",
        ]
        optional = {
            "Expiration Time": self.expiration_time,
            "Not Before": self.not_before,
            "Request ID": self.request_id,
        }
        lines += [f"{name}: {value}" for name, value in optional.items() if value]
        if self.resources:
            lines += ["Resources:", *(f"- {each}" for each in self.resources)]
        return "\n".join(lines)

    def texts(self) -> tuple[str, ...]:
        """Every text that a released builder makes, the likeliest first."""
        candidates = [self.build()]
        if self.statement == "":
            candidates.append(self.build(empty_line=False))
        if self.resources == ():
            # Builders from 2.12 on write the heading of an empty list.
            candidates += [f"{text}\nResources:" for text in tuple(candidates)]
        return tuple(dict.fromkeys(candidates))


@dataclass(frozen=True, slots=True)
class Recap:
    """A capability list: (resource, ability, actions), in signing order."""

    grants: tuple[tuple[str, str, tuple[str, ...]], ...]

    @property
    def sentence(self) -> str:
        by_resource: dict[str, list[str]] = {}
        for number, (resource, ability, actions) in enumerate(self.grants, start=1):
            names = "', '".join(actions)
            by_resource.setdefault(resource, []).append(
                f"({number}) '{ability}': '{names}' for '{resource}'."
            )
        # The client drops one dot where it joins two abilities of one resource.
        return _RECAP_SENTENCE + " ".join(
            ", ".join(each).replace(".,", ".", 1) for each in by_resource.values()
        )

    def actions(self, resource: str, ability: str) -> frozenset[str]:
        return frozenset(
            action
            for granted, named, actions in self.grants
            if (granted, named) == (resource, ability)
            for action in actions
        )


def recap_of(resources: tuple[str, ...] | None) -> Recap | None:
    """The recap in the last resource, if there is one and it can be read."""
    if not resources or not resources[-1].startswith(_RECAP):
        return None
    try:
        return _parse_recap(resources[-1][len(_RECAP) :])
    except RemoteProtocolError:
        return None


def _parse_recap(text: str) -> Recap:
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        decoded = a2b_base64(standard + "=" * (-len(standard) % 4), strict_mode=True)
    except ValueError:
        raise malformed("recap") from None
    attenuations = require_object(parse_object(decoded, "recap").get("att"), "recap")
    grants: list[tuple[str, str, tuple[str, ...]]] = []
    for resource, abilities in attenuations.items():
        grants += _read_abilities(resource, abilities)
    if not grants or len(grants) > _MAX_ABILITIES:
        raise malformed("recap")
    return Recap(tuple(grants))


def _read_abilities(
    resource: str, value: JsonValue
) -> list[tuple[str, str, tuple[str, ...]]]:
    """The abilities of one resource, grouped by name and sorted by action."""
    pairs: list[tuple[str, str]] = []
    for key in require_object(value, "recap"):
        ability, slash, rest = key.partition("/")
        if not slash:
            raise malformed("recap")
        pairs.append((ability, rest.split("/")[0]))
    grouped: dict[str, list[str]] = {}
    for ability, action in sorted(pairs, key=lambda pair: pair[1]):
        grouped.setdefault(ability, []).append(action)
    return [(resource, ability, tuple(names)) for ability, names in grouped.items()]
