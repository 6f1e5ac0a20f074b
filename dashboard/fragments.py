"""Renders account events as the rows that they changed.

Pages, responses to actions and live updates use the same partial templates. A batch of
events takes one query per kind of row, and each row is rendered once however many events
refer to it. Rows of notifications and unread counts are read for many users at once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext

from accounts.services import EventKind
from common import bidi
from dashboard.frame import format_count, unread_numbers
from dashboard.keys import is_uuid, parse_pk
from dashboard.message_rows import message_rows
from dashboard.pages.attempts import attempt_page
from dashboard.pages.message_rows import rows_of, rows_of_users
from dashboard.pages.subscriptions import subscription_rows
from dashboard.pages.sync import update_rows, updates_of
from subscriptions.models import SubscribeAttempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from accounts.services import RecordedEvent
    from dashboard.pages.message_rows import MessageRow

MESSAGE: Final = "subscriptions.notifymessagerecord"
SUBSCRIPTION: Final = "subscriptions.subscription"
ATTEMPT: Final = "subscriptions.subscribeattempt"
RUN: Final = "relay.run"
UPDATE: Final = "syncstore.storeupdate"
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


@dataclass(frozen=True, slots=True)
class Loaded:
    """What several users' events need of the database."""

    rows: Mapping[int, list[MessageRow]]
    unread: Mapping[int, int]


def load(events: Mapping[int, Iterable[RecordedEvent]]) -> Loaded:
    """For the events of each user, in two queries."""
    counted, pks = set(), set()
    for user_id, of_user in events.items():
        for event in of_user:
            table, _, key = event.subject.partition(":")
            if event.kind in COUNTED:
                counted.add(user_id)
            if table == MESSAGE:
                pks.update(_integers([key]))
    return Loaded(
        rows=rows_of_users(events, pks) if pks else defaultdict(list),
        unread=unread_numbers(counted) if counted else {},
    )


def frames_for(
    user_id: int,
    events: Sequence[RecordedEvent],
    *,
    zone: str,
    language: str,
    loaded: Loaded,
) -> list[LiveFrame]:
    """The events as frames, one per table, ordered by sequence."""
    by_table: dict[str, list[RecordedEvent]] = {}
    for event in events:
        by_table.setdefault(event.subject.partition(":")[0], []).append(event)
    with timezone.override(zone), translation.override(language):
        frames = [
            _frame(user_id, table, batch, loaded) for table, batch in by_table.items()
        ]
    return sorted(frames, key=lambda frame: frame.id)


def _frame(
    user_id: int, table: str, events: Sequence[RecordedEvent], loaded: Loaded
) -> LiveFrame:
    subjects = tuple(dict.fromkeys(event.subject for event in events))
    keys = [subject.partition(":")[2] for subject in subjects][-MAX_ROWS:]
    html = ""
    if table == MESSAGE:
        html = _message_rows(loaded.rows[user_id], _integers(keys))
    elif render := _RENDERERS.get(table):
        html = render(user_id, keys)
    kinds = {event.kind for event in events}
    if kinds & COUNTED:
        html += _unread_counts(loaded.unread[user_id])
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
    return _message_rows(rows_of(user_id, pks), pks)


def _message_rows(loaded: Iterable[MessageRow], pks: Sequence[int]) -> str:
    wanted = set(pks)
    rows = sorted((row for row in loaded if row.pk in wanted), key=lambda row: row.pk)
    present = {row.pk for row in rows}
    return message_rows(rows) + "".join(
        format_html('<li id="message-{}" data-list="messages" data-gone></li>', pk)
        for pk in pks
        if pk not in present
    )


def unread_counts(user_id: int) -> str:
    return _unread_counts(unread_numbers([user_id])[user_id])


def _unread_counts(number: int) -> str:
    return format_html(
        '<span class="count" id="unread-count" aria-label="{1}">{0}</span>'
        '<span class="count" id="unread-tab-count">{0}</span>',
        format_count(number),
        gettext("unread"),
    )


def _integers(keys: Iterable[str]) -> list[int]:
    return [pk for key in keys if (pk := parse_pk(key)) is not None]


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
# data-watch and reload instead, which needs no second implementation of each row. Rows of
# notifications were loaded for all users.
_RENDERERS: Final[dict[str, Callable[[int, list[str]], str]]] = {
    SUBSCRIPTION: _subscriptions,
    ATTEMPT: _attempts,
    RUN: _runs,
    UPDATE: _updates,
}
