"""What the pages of signing in say: the two steps, what went wrong, a command that signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# It signs the text without the line break that editors put at the end of a file, and with
# the line ends of the text whatever the file has: anything else would be another text.
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
    title: str
    text: str
    details: str


@dataclass(frozen=True, slots=True)
class Trouble:
    title: str
    text: str
    tone: str = "danger"
    # Another text is needed; the address is kept.
    again: bool = False


PROVE: Final = Step(
    1,
    "Prove it is you",
    "Signs you in and lets this browser sign for this account on this server. "
    "No transaction, no fee.",
    "The key in the last line is this browser's identity key: your one signature is the "
    "login and its authorisation. The text serves once, for ten minutes, in this browser.",
)
SHARE: Final = Step(
    2,
    "Share with your other devices",
    "Creates the key that your devices share. Sign this exact text on each device.",
    "The key is derived from the signature, so the same wallet leads every device to the "
    "same store. The signature itself is not kept.",
)
JOIN: Final = Step(
    2,
    "Join your other devices",
    "Sync is on for this account. Sign the same text here, and this browser stands in the "
    "shared store like the others.",
    SHARE.details,
)
