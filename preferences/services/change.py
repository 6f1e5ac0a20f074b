"""Changes made on this server: merged, put into force and written into the store at once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from accounts.models import Account
from common import clock
from preferences.document import (
    MAX_AUTHOR_LENGTH,
    MAX_DOCUMENT_LENGTH,
    canonical,
    merge,
)
from preferences.models import DappPreferences
from preferences.registry import put_into_force
from syncstore.names import PREFERENCES_STORE
from syncstore.services import StoreKeyMissing, lock_stores, store_race, store_set
from walletconnect.errors import LocalProtocolError
from walletconnect.sync.store import MAX_KEY_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from accounts.models import Device
    from accounts.services import EventDraft
    from walletconnect.json_values import JsonObject, JsonValue

logger = logging.getLogger(__name__)

# Not an address, so it never collides with a dapp; earlier releases ignore it.
EPOCH_KEY: Final = "epoch"


class TooManyPreferences(Exception):
    """The account has preferences for as many dapps as the limit allows."""


@dataclass(frozen=True, slots=True)
class Change:
    """New registers for one dapp, without ``at`` and ``by``; ``note`` is for the sync log."""

    mutes: Mapping[str, JsonObject] = field(default_factory=dict)
    block: JsonObject | None = None
    note: str = ""


def lock(account: Account) -> None:
    """Lock the account, then its stores; before any other row of the account."""
    Account.objects.locked().get(pk=account.pk)
    lock_stores(account_id=account.pk)


@transaction.atomic
def change(
    account: Account, changes: Mapping[str, Change], *, device: Device | None
) -> list[EventDraft]:
    """Set preferences by dapp URL; returns the events to record, last.

    Callers that hold other locks have called ``lock`` before. A change always wins over
    what is here, even over a register of a clock that is ahead. Raises
    ``TooManyPreferences``.
    """
    lock(account)
    rows = rows_of(account, changes)
    require_room(account, set(changes) - set(rows))
    by = author(device)
    merged: dict[str, JsonObject] = {}
    for url, wanted in changes.items():
        document = rows[url].value if url in rows else {}
        mutes = cast("JsonObject", document.get("mutes", {}))
        update: JsonObject = {}
        if wanted.mutes:
            update["mutes"] = {
                type_: _register(value, mutes.get(type_), by)
                for type_, value in wanted.mutes.items()
            }
        if wanted.block is not None:
            update["block"] = _register(wanted.block, document.get("block"), by)
        merged[url] = merge(document, update)
    save(account, merged, rows)
    events = put_into_force(account, merged)
    notes = {url: each.note for url, each in changes.items()}
    return events + write(account, merged, device=device, notes=notes)


@transaction.atomic
def collide(
    account: Account, dapp_url: str, changes: Sequence[tuple[Change, Device]]
) -> list[EventDraft]:
    """Let devices change one dapp's preferences at the same moment, from the same state.

    For the demonstration: the changes reach the store in the reverse order. The last one
    wins by its id as well as by its time.
    """
    lock(account)
    rows = rows_of(account, [dapp_url])
    document = rows[dapp_url].value if rows else {}
    mutes = cast("JsonObject", document.get("mutes", {}))
    writes = []
    for number, (wanted, device) in enumerate(changes):
        update: JsonObject = {
            type_: _register(value, mutes.get(type_), author(device), later=number)
            for type_, value in wanted.mutes.items()
        }
        writes.append((merge(document, {"mutes": update}), device))
    final = {dapp_url: writes[-1][0]}
    save(account, final, rows)
    events = put_into_force(account, final)
    return events + store_race(
        account.pk,
        PREFERENCES_STORE,
        dapp_url,
        [(canonical(value), device) for value, device in writes],
    )


def rows_of(account: Account, urls: Iterable[str]) -> dict[str, DappPreferences]:
    """The rows of these dapps, locked."""
    rows = DappPreferences.objects.select_for_update().filter(
        account=account, dapp_url__in=list(urls)
    )
    return {row.dapp_url: row for row in rows.order_by("dapp_url")}


def require_room(account: Account, new: set[str]) -> None:
    if not new:
        return
    kept = DappPreferences.objects.filter(account=account).count()
    if kept + len(new) > settings.LIMITS.preferences_per_account:
        raise TooManyPreferences


def save(
    account: Account,
    documents: Mapping[str, JsonObject],
    rows: Mapping[str, DappPreferences],
) -> None:
    now = clock.now()
    changed, new = [], []
    for url, document in documents.items():
        row = rows.get(url)
        if row is None:
            row = DappPreferences(account=account, dapp_url=url)
            if len(url) <= MAX_KEY_LENGTH:
                new.append(row)
        else:
            changed.append(row)
        row.document, row.updated_at = canonical(document), now
    DappPreferences.objects.bulk_create(new)
    DappPreferences.objects.bulk_update(changed, ["document", "updated_at"])


def write(
    account: Account,
    documents: Mapping[str, JsonObject],
    *,
    device: Device | None,
    notes: Mapping[str, str],
) -> list[EventDraft]:
    """Write documents into the store, if the account has one.

    A store that cannot be written, because its key is gone or another wallet has used up
    the ids of a key, does not stop the preference from being in force here. An address
    that is too long for a key stays here as well.
    """
    values = {
        url: canonical(document)
        for url, document in documents.items()
        if len(url) <= MAX_KEY_LENGTH
    }
    values = {
        url: text for url, text in values.items() if len(text) <= MAX_DOCUMENT_LENGTH
    }
    try:
        with transaction.atomic():
            return store_set(
                account.pk, PREFERENCES_STORE, values, device=device, notes=notes
            )
    except (StoreKeyMissing, LocalProtocolError) as error:
        logger.warning("preferences not shared: %s", error)
        return []


def announce_epoch(account: Account, epoch: int, device: Device) -> list[EventDraft]:
    """Announce a new epoch in the stores that are left, to other servers of the wallet.

    A copy of the store's key is enough to write this as well: it only makes pages advise
    to start the epoch, which needs the wallet's signature.
    """
    document: JsonObject = {
        "epoch": epoch,
        "at": clock.now_ms(),
        "by": author(device),
    }
    note = {EPOCH_KEY: f"epoch {epoch} begins"}
    return write(account, {EPOCH_KEY: document}, device=device, notes=note)


def author(device: Device | None) -> str:
    """Who makes a change, for the sync logs of the other devices."""
    host = urlsplit(settings.PUBLIC_URL).netloc
    text = host if device is None else f"{device.name} · {host}"
    return text[:MAX_AUTHOR_LENGTH]


def _register(
    value: JsonObject, present: JsonValue, by: str, *, later: int = 0
) -> JsonObject:
    stated = present.get("at") if isinstance(present, dict) else None
    after = stated + 1 if isinstance(stated, int) else 0
    # Members that are unknown here stay with their register.
    kept = present if isinstance(present, dict) else {}
    return {**kept, **value, "at": max(clock.now_ms(), after) + later, "by": by}


def time_of(until: JsonValue) -> datetime | None:
    """The end of a mute; None is "until it is turned off"."""
    if not isinstance(until, int):
        return None
    return datetime.fromtimestamp(until / 1000, UTC)
