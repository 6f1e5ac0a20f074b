"""Mutes are a member of the preferences that devices share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerts.services.preferences import apply_mutes
from preferences.registry import puts_into_force

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accounts.models import Account
    from accounts.services import EventDraft
    from walletconnect.json_values import JsonValue


@puts_into_force("mutes")
def on_mutes_changed(
    account: Account, values: Mapping[str, JsonValue]
) -> Sequence[EventDraft]:
    return apply_mutes(account, values)
