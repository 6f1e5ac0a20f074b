"""Changes of other devices: merged with what is here, never simply taken over.

The store keeps the update with the highest id, even if a concurrent one changed something
else. A device that holds a newer register writes the merged document again; the others then find
nothing newer, so this ends after one round. A value that is malformed changes nothing, and
what is here is written again in its place, once for each update received.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from common import clock
from preferences.document import canonical, merge, newest_author, parse
from preferences.models import DappPreferences
from preferences.registry import put_into_force
from preferences.services.change import EPOCH_KEY, rows_of, save, write
from syncstore.registry import AppliedUpdate, Consequences
from syncstore.services import present_values
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.app_url import AppUrl
from walletconnect.json_values import malformed

if TYPE_CHECKING:
    from accounts.services import EventDraft
    from syncstore.models import Store
    from walletconnect.json_values import JsonObject

NOT_APPLIED = "not applied: %s"
ENDED = "removed from the store; the preferences here stay"
MERGED = "merged with newer changes of this server"
EPOCH = "a new epoch was started on another server"
AGAIN = "written again, with what is newer here"


def receive(store: Store, applied: list[AppliedUpdate]) -> Consequences:
    """Merge updates of the store; in the transaction of the apply."""
    announced = [each for each in applied if each.key == EPOCH_KEY]
    applied = [each for each in applied if each.key != EPOCH_KEY]
    rows = rows_of(store.account, [update.key for update in applied])
    kept = DappPreferences.objects.filter(account=store.account).count()
    room = settings.LIMITS.preferences_per_account - kept
    now_ms = clock.now_ms()
    notes = {each.key: EPOCH for each in announced}
    authors: dict[str, str] = {}
    changed: dict[str, JsonObject] = {}
    # What the store should hold instead.
    again: dict[str, JsonObject] = {}
    for update in applied:
        row = rows.get(update.key)
        ours = row.value if row is not None else {}
        if update.value is None:
            notes[update.key] = ENDED
            if ours:
                again[update.key] = ours
            continue
        try:
            if str(AppUrl.parse(update.key)) != update.key:
                raise malformed("address of a dapp")
            theirs = parse(update.value, now_ms=now_ms)
            merged = merge(ours, theirs)
            # Two that are valid may be too large together.
            parse(canonical(merged), now_ms=now_ms)
        except RemoteProtocolError as error:
            notes[update.key] = NOT_APPLIED % error
            if ours and not _is_readable(update.value, now_ms):
                again[update.key] = ours
            continue
        if row is None:
            if room <= 0:
                notes[update.key] = NOT_APPLIED % "preferences for too many dapps"
                continue
            room -= 1
        authors[update.key] = newest_author(theirs)
        if merged != ours:
            changed[update.key] = merged
        if merged != theirs:
            again[update.key] = merged
            notes[update.key] = MERGED
    save(store.account, changed, rows)
    events = put_into_force(store.account, changed)

    def write_again() -> list[EventDraft]:
        return write(
            store.account, again, device=None, notes=dict.fromkeys(again, AGAIN)
        )

    return Consequences(notes, events, authors, then=write_again if again else None)


def _is_readable(value: str, now_ms: int) -> bool:
    try:
        parse(value, now_ms=now_ms)
    except RemoteProtocolError:
        return False
    return True


def announce(store: Store) -> list[EventDraft]:
    """Write into the store what is here and not there; after the replay of History."""
    documents = {
        row.dapp_url: row.value
        for row in DappPreferences.objects.filter(account=store.account)
    }
    present = present_values(store, list(documents))
    missing = {
        url: document for url, document in documents.items() if url not in present
    }
    # Those that are present were merged, and written again if need be, when they arrived.
    return write(store.account, missing, device=None, notes={})
