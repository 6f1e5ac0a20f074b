"""The names of the stores that an account has here; each name has its own key and topic."""

from __future__ import annotations

from typing import Final

from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

# Ours, beside the one of the specification: other wallets do not derive its topic.
PREFERENCES_STORE: Final = "com.notifyweb.preferences"
# In the order of creation, which is the order of their locks.
STORE_NAMES: Final = (NOTIFY_SUBSCRIPTION_STORE, PREFERENCES_STORE)
