"""The apps that own a part of the preferences put it into force.

``preferences`` merges documents without interpreting them. The app that owns a member
registers here, in its ``handlers.py``::

    @puts_into_force("mutes")
    def apply_mutes(account: Account, values: Mapping[str, JsonValue]) -> Sequence[EventDraft]: ...

``values`` are the members of merged documents, by dapp URL. Hooks run in the transaction of
the change, with the store locked; they write rows and use no network. They are called for
changes made here as well as for those of other devices, so a member has one way into force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from common.named import Named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from accounts.models import Account
    from accounts.services import EventDraft
    from walletconnect.json_values import JsonObject, JsonValue

Hook: TypeAlias = "Callable[[Account, Mapping[str, JsonValue]], Sequence[EventDraft]]"

_hooks: Named[Hook] = Named("member")

puts_into_force = _hooks.register


def put_into_force(
    account: Account, documents: Mapping[str, JsonObject]
) -> list[EventDraft]:
    """Call each owner with its member of these documents."""
    events: list[EventDraft] = []
    for member, hook in _hooks.items():
        values = {
            url: document[member]
            for url, document in documents.items()
            if member in document
        }
        if values:
            events += hook(account, values)
    return events
