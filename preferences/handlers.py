"""Handlers of changes in the preferences store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preferences import services
from syncstore.names import PREFERENCES_STORE
from syncstore.registry import on_applied, on_rebuilt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accounts.services import EventDraft
    from syncstore.models import Store
    from syncstore.registry import AppliedUpdate, Consequences


@on_applied(PREFERENCES_STORE)
def on_store_applied(store: Store, applied: list[AppliedUpdate]) -> Consequences:
    return services.receive(store, applied)


@on_rebuilt(PREFERENCES_STORE)
def on_store_rebuilt(store: Store) -> Sequence[EventDraft]:
    return services.announce(store)
