"""Renders account events as the rows that they changed.

Pages, responses to actions and live updates use the same partial templates. A batch of
events takes one query per kind of row, and each row is rendered once however many events
refer to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext

from accounts.services import EventKind
from common import bidi
from dashboard.frame import format_count, unread_number
from dashboard.keys import is_uuid
from dashboard.message_rows import message_rows
from dashboard.pages.attempts import attempt_page
from dashboard.pages.message_rows import rows_of
from dashboard.pages.subscriptions import subscription_rows
from dashboard.pages.sync import update_rows, updates_of
from subscriptions.models import SubscribeAttempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from accounts.models import AccountEvent

MESSAGE: Final = "subscriptions.notifymessagerecord"
SUBSCRIPTION: Final = "subscriptions.subscription"
ATTEMPT: Final = "subscriptions.subscribeattempt"
RUN: Final = "relay.run"
UPDATE: Final = "syncstore.storeupdate"
STORE: Final = "syncstore.store"
DEVICE: Final = "accounts.device"

# Events that change the unread count.
COUNTED: Final = frozenset({EventKind.MESSAGE, EventKind.READ, EventKind.ACCOUNT})

# Above this, reloading the page is cheaper than rendering single rows.
MAX_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """HTML rows for the browser to insert; ``id`` is the sequence of the newest event."""

    id: int
    kind: str
    html: str
    subjects: tuple[str, ...]

    def to_value(self) -> dict[str, object]:
        return {
            "id": self.id,
            "kind": self.kind,
            "html": bidi.neutralize(self.html),
            "subjects": list(self.subjects),
        }


def frames_for(
    user_id: int, events: Sequence[AccountEvent], *, zone: str, language: str
) -> list[LiveFrame]:
    """The events as frames, one per table, ordered by sequence."""
    by_table: dict[str, list[AccountEvent]] = {}
    for event in events:
        by_table.setdefault(event.subject.partition(":")[0], []).append(event)
    with timezone.override(zone), translation.override(language):
        frames = [_frame(user_id, table, batch) for table, batch in by_table.items()]
    return sorted(frames, key=lambda frame: frame.id)


def _frame(user_id: int, table: str, events: Sequence[AccountEvent]) -> LiveFrame:
    subjects = tuple(dict.fromkeys(event.subject for event in events))
    render = _RENDERERS.get(table)
    html = ""
    if render is not None:
        keys = [subject.partition(":")[2] for subject in subjects]
        html = render(user_id, keys[-MAX_ROWS:])
    kinds = {event.kind for event in events}
    if kinds & COUNTED:
        html += unread_counts(user_id)
    return LiveFrame(
        id=max(event.sequence for event in events),
        kind=events[-1].kind,
        html=html,
        # data-watch names one row, a table, or a kind of event on a table.
        subjects=(*subjects, table, *sorted(f"{kind}@{table}" for kind in kinds)),
    )


# --- rows -----------------------------------------------------------------------------


def rows_of_messages(user_id: int, pks: Sequence[int]) -> str:
    """The rows, oldest first; a deleted notification's row leaves the page."""
    rows = sorted(rows_of(user_id, pks), key=lambda row: row.pk)
    present = {row.pk for row in rows}
    return message_rows(rows) + "".join(
        format_html('<li id="message-{}" data-list="messages" data-gone></li>', pk)
        for pk in pks
        if pk not in present
    )


def unread_counts(user_id: int) -> str:
    return format_html(
        '<span class="count" id="unread-count" aria-label="{1}">{0}</span>'
        '<span class="count" id="unread-tab-count">{0}</span>',
        format_count(unread_number(user_id)),
        gettext("unread"),
    )


def _integers(keys: Iterable[str]) -> list[int]:
    return [int(key) for key in keys if key.isdecimal()]


def _messages(user_id: int, keys: list[str]) -> str:
    return rows_of_messages(user_id, _integers(keys))


def _subscriptions(user_id: int, keys: list[str]) -> str:
    wanted = _integers(keys)
    rows = subscription_rows(user_id, only=wanted)
    html = [
        render_to_string("components/subscription_row.html", {"row": row})
        for row in reversed(rows)
    ]
    present = {row.subscription.pk for row in rows}
    html += [
        format_html(
            '<li id="subscription-{}" data-list="subscriptions" data-gone></li>', pk
        )
        for pk in wanted
        if pk not in present
    ]
    return "".join(html)


def _attempts(user_id: int, keys: list[str]) -> str:
    found = SubscribeAttempt.objects.filter(
        account__user_id=user_id, pk__in=[key for key in keys if is_uuid(key)]
    )
    return _attempt_rows(found)


def _runs(user_id: int, keys: list[str]) -> str:
    found = SubscribeAttempt.objects.filter(
        account__user_id=user_id, response_topic__in=keys
    )
    return _attempt_rows(found)


def _attempt_rows(found: Iterable[SubscribeAttempt]) -> str:
    return "".join(
        render_to_string("components/attempt_row.html", {"run": attempt_page(attempt)})
        for attempt in found
    )


def _updates(user_id: int, keys: list[str]) -> str:
    found = updates_of(user_id).filter(pk__in=_integers(keys)).order_by("pk")
    return sync_rows(update_rows(found))


def sync_rows(rows: Iterable[object]) -> str:
    return "".join(
        render_to_string("components/sync_row.html", {"row": row}) for row in rows
    )


# Devices, accounts and stores have no renderer: the few pages that show them list them in
# data-watch and reload instead, which needs no second implementation of each row.
_RENDERERS: Final[dict[str, Callable[[int, list[str]], str]]] = {
    MESSAGE: _messages,
    SUBSCRIPTION: _subscriptions,
    ATTEMPT: _attempts,
    RUN: _runs,
    UPDATE: _updates,
}
