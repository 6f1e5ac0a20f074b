"""Inserting, opening and reporting sealed rows."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from accounts.models import AuditEntry
from accounts.services import audit
from common import clock
from keychain.keyring import DecryptionFailed, keyring
from keychain.models import SealedEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

logger = logging.getLogger(__name__)

Entry = TypeVar("Entry", bound=SealedEntry)

AUDIT_OPEN_FAILED: Final = "keychain.open-failed"
# Every batch meets a row that does not open; one audit entry an hour is enough.
AUDIT_AGAIN_AFTER = timedelta(hours=1)


def insert(model: type[Entry], rows: list[Entry], secrets: Sequence[bytes]) -> None:
    """Seal and insert rows; existing ones stay as they are."""
    now = clock.now()
    for row, plaintext in zip(rows, secrets, strict=True):
        row.created_at = now
        seal_into(row, plaintext)
    # A key is named by itself, so an existing row already has this secret.
    model._default_manager.bulk_create(rows, ignore_conflicts=True)


def seal_into(row: SealedEntry, plaintext: bytes) -> None:
    ring = keyring()
    row.sealed = ring.seal(row.context, plaintext)
    row.sealing_key_id = ring.first.id


def opened(rows: Iterable[Entry]) -> Iterator[tuple[Entry, bytes]]:
    """The rows that open, each with its plaintext; the others are reported."""
    ring = keyring()
    for row in rows:
        try:
            yield row, ring.open(row.context, row.sealed)
        except DecryptionFailed:
            report(row, "does not open")


def opened_values(
    model: type[Entry],
    holder: str,
    rows: Iterable[tuple[int, str, int | None, bytes | memoryview]],
) -> Iterator[tuple[int, str, bytes]]:
    """As ``opened``, of primary key, name, account and ``sealed``.

    For batches of a thousand: loading whole rows costs more time than opening them.
    """
    ring = keyring()
    for pk, name, account_id, sealed in rows:
        try:
            yield pk, name, ring.open(model.place(holder, name, account_id), sealed)
        except DecryptionFailed:
            report(model(pk=pk), "does not open")


def verify_name(row: SealedEntry, name: str) -> bool:
    """Whether the key in the row matches the row's name.

    The name is authenticated as well; this check holds even if that ever broke.
    """
    if row.name_in_holder == name:
        return True
    report(row, "holds another key than its name")
    return False


def report(row: SealedEntry, what: str) -> None:
    """One log line, and one audit entry an hour, for a row that is refused."""
    subject = f"{row._meta.db_table}:{row.pk}"
    logger.error("a sealed row %s", what, extra={"row": subject})
    reported = AuditEntry.objects.filter(
        action=AUDIT_OPEN_FAILED,
        subject=subject,
        at__gt=clock.now() - AUDIT_AGAIN_AFTER,
    )
    if not reported.exists():
        audit(AUDIT_OPEN_FAILED, subject=subject, detail=what)
