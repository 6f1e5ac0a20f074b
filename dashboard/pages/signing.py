"""Texts of the sign-in pages: steps, problems, and a command that signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

# Removes the line break that editors append and normalizes line endings: with either, the
# signature would be of another text.
PYTHON_COMMAND: Final = (
    'python -c "from eth_account import Account; '
    "from eth_account.messages import encode_defunct as text; "
    "print(Account.from_key(input('private key: ')).sign_message("
    "text(bytes([10]).join(open('message.txt','rb').read().splitlines()))"
    ').signature.to_0x_hex())"'
)


@dataclass(frozen=True, slots=True)
class Step:
    number: int
    title: StrPromise
    text: StrPromise
    details: StrPromise


@dataclass(frozen=True, slots=True)
class SignInProblem:
    title: str
    text: str
    tone: str = "danger"
    # Offer a new text for the same address.
    again: bool = False
    # A signature to check once more, where that was not possible.
    retry: str = ""


PROVE: Final = Step(
    1,
    _("Prove it is you"),
    _(
        "Signs you in and lets this browser sign for this account on this server. "
        "No transaction, no fee."
    ),
    _(
        "The key in the last line is this browser's identity key: one signature signs you "
        "in and authorises it. The text is valid once, for ten minutes, in this browser."
    ),
)
SHARE: Final = Step(
    2,
    _("Share with your other devices"),
    _("Creates the key that your devices share. Sign this exact text on each device."),
    _(
        "The key is derived from the signature, so all devices of the wallet get the same "
        "store. The signature itself is not stored."
    ),
)
JOIN: Final = Step(
    2,
    _("Join your other devices"),
    _(
        "Sync is on for this account. Sign the same text here to give this browser the "
        "shared store."
    ),
    SHARE.details,
)
