"""Proof that nothing came of a message: the whole database, before and after.

What a door keeps of everything that knocks is left out: the messages themselves with the
reason of their refusal, the error answers, the audit log, and what key servers said.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from relay.models import OutboxMessage
from tests.snapshots import NOTED, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = (
    "accounts",
    "castserver",
    "history",
    "identity",
    "keychain",
    "relay",
    "subscriptions",
    "syncstore",
)
KEPT_OF_EVERYTHING = (
    *NOTED,
    "relay_inboxmessage",
    "relay_outboxmessage",
    "identity_knownidentity",
)


@contextmanager
def nothing_changes() -> Iterator[None]:
    """Whatever happens inside leaves every row of every table as it was."""
    before = rows_of(*APPS, without=KEPT_OF_EVERYTHING)
    yield
    after = rows_of(*APPS, without=KEPT_OF_EVERYTHING)
    changed = [table for table in before if before[table] != after[table]]
    assert not changed, f"changed: {changed}"


@contextmanager
def nobody_is_answered() -> Iterator[None]:
    """Whatever happens inside is not answered, and changes nothing."""
    before = OutboxMessage.objects.count()
    with nothing_changes():
        yield
    assert OutboxMessage.objects.count() == before
