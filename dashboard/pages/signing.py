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
    # The signature leads to another store than the account has: offer the other ways.
    differs: bool = False
    # Two signatures of one text differ: this one can be used nevertheless.
    anyway: str = ""


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
CHECK: Final = Step(
    2,
    _("Sign once more"),
    _(
        "Sign the same text a second time. If both signatures are equal, your other "
        "devices can join by signing it, too."
    ),
    SHARE.details,
)
NEW_GROUP: Final = Step(
    2,
    _("Start a new group"),
    _(
        "This replaces the shared store of the account by a new one, made from the "
        "signature that you give now."
    ),
    SHARE.details,
)
# What a new group means, for the page that explains it.
NEW_GROUP_EFFECTS: Final = (
    _(
        "Your subscriptions and notifications stay. All devices that are signed in on this "
        "server move to the new group and need no signature."
    ),
    _(
        "Wallets and servers elsewhere stay in the former group: they get no changes from "
        "here any more, and theirs do not arrive here."
    ),
    _(
        "The log of the former store is removed, and its key is forgotten here. This cannot "
        "be undone with a wallet that signs differently each time."
    ),
)
NEW_EPOCH: Final = Step(
    2,
    _("Start a new epoch"),
    _(
        "This gives the shared stores and all subscriptions of the account other keys. The "
        "text is the one that you signed to turn Sync on."
    ),
    _(
        "The keys of the new stores are derived from the same signature along other names. "
        "A key of the former stores does not lead to them."
    ),
)
# What a new epoch means, for the page that explains it.
NEW_EPOCH_EFFECTS: Final = (
    _(
        "Every dapp is left and subscribed to anew, with the types that are on now, so that "
        "notifications come under other keys. Notifications that you have stay."
    ),
    _(
        "All devices that are signed in on this server move along. Another server of "
        "yours asks you to start the epoch there: the same wallet leads to the same stores."
    ),
    _(
        "Wallets that know only the store of the specification do not follow. They lose the "
        "subscriptions that are left."
    ),
    _(
        "What was sent under the former keys stays readable for those who have copied them. "
        "Nothing can recall that."
    ),
    _("If the wallet's signature itself was copied, a new epoch does not help."),
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

# Why a code links nothing, by ``LinkRefused.kind``.
LINK_PROBLEMS: Final = {
    "unknown": _(
        "No device of this inbox shows that code. Compare it with the other screen; both "
        "devices must be signed in to the same inbox."
    ),
    "expired": _(
        "That code is older than two minutes, or its device was signed out. Make a new one "
        "on the other device."
    ),
    "used": _("That code was used already. Each code links one device, once."),
    "own-device": _(
        "This is the device that shows the code. Enter it on a device that syncs already."
    ),
    "not-syncing": _(
        "This device does not sync that account itself, so it cannot let another one in. "
        "Use a device that does."
    ),
    "too-many": _(
        "Too many codes were tried. Wait a few minutes, then make a new one."
    ),
    "not-a-key-text": _(
        "This is not the text that the other device shows, or not the whole of it. Copy it "
        "again, from its first letter to its last."
    ),
    "other-account": _(
        "This text is about an account that is not the one expected here."
    ),
    "no-store": _("Sync is not on for this account, so there is nothing to join."),
}
