"""Queues of work that needs a dapp's documents: items of one dapp share one reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from common.dapp_documents import read_dapp
from common.drain import drain
from subscriptions.models import DappDocument
from subscriptions.services.dapps.documents import keep_readings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from common.dapp_documents import Reading

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _AtDapp(Generic[_Item]):
    url: str
    items: list[_Item]
    is_to_read: bool


def drain_by_dapp(
    claim: Callable[[int], Sequence[_Item]],
    url_of: Callable[[_Item], str],
    handle: Callable[[list[_Item], DappDocument | None], None],
    *,
    is_to_read: Callable[[str, DappDocument | None], bool],
    slots: int,
) -> int:
    """Claim items, read the documents of their dapps where needed, handle the items.

    ``handle`` receives the items of one dapp and its stored documents. Returns how many
    items were claimed. Uses the network.
    """
    count = 0

    def claim_by_dapp(limit: int) -> list[_AtDapp[_Item]]:
        nonlocal count
        at_dapp: dict[str, list[_Item]] = {}
        for item in claim(limit):
            at_dapp.setdefault(url_of(item), []).append(item)
            count += 1
        kept = DappDocument.objects.in_bulk(list(at_dapp), field_name="url")
        return [
            _AtDapp(url, items, is_to_read(url, kept.get(url)))
            for url, items in at_dapp.items()
        ]

    def read(found: _AtDapp[_Item]) -> tuple[_AtDapp[_Item], Reading | None]:
        return found, read_dapp(found.url) if found.is_to_read else None

    def record(results: list[tuple[_AtDapp[_Item], Reading | None]]) -> None:
        readings = {each.url: each for _, each in results if each is not None}
        if readings:
            keep_readings(readings.values())
        kept = DappDocument.objects.in_bulk(
            [found.url for found, _ in results], field_name="url"
        )
        for found, _ in results:
            handle(found.items, kept.get(found.url))

    drain(claim_by_dapp, read, record, slots=slots)
    return count
