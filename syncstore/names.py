"""The names of the stores that an account has here; each name has its own key and topic."""

from __future__ import annotations

import re
from typing import Final

from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

# Ours, beside the one of the specification: other wallets do not derive its topic.
PREFERENCES_STORE: Final = "com.notifyweb.preferences"
# In the order of creation, which is the order of their locks.
STORE_NAMES: Final = (NOTIFY_SUBSCRIPTION_STORE, PREFERENCES_STORE)

MAX_EPOCH: Final = 99
_EPOCH_NAME: Final = re.compile(r"(.+)\.epoch([1-9][0-9]?)")


def derivation_name(name: str, epoch: int) -> str:
    """The name along which the key of a store is derived.

    The specification's own name in the first epoch; a name of ours in every later one, so
    that a key of one epoch does not lead to the next.
    """
    return name if epoch == 1 else f"{name}.epoch{epoch}"


def name_and_epoch(text: str) -> tuple[str, int]:
    """The store's name and epoch of a derivation name."""
    match = _EPOCH_NAME.fullmatch(text)
    return (text, 1) if match is None else (match[1], int(match[2]))
