"""Re-sealing everything under the first key of ``KEYCHAIN_KEYS``, while all runs on.

reliability.md, item 18 and fault F42. Works in batches, each one transaction, and asks
only for rows that another key sealed: interrupted at any point, the next run goes on
where this one ended. A row that does not open is counted and left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.db import transaction
from django.db.models import BinaryField, F, Func, Value

from accounts.services import audit
from common.failpoints import failpoint
from keychain.canary import (
    ENTRY_MODELS,
    canaries,
    delete_canaries_except,
    ensure_canary,
)
from keychain.columns import SealedColumn, sealed_columns
from keychain.keyring import DecryptionFailed, keyring
from keychain.models import SecretEntry
from keychain.rows import report, seal_into

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import Model, QuerySet

    from keychain.models import SealedEntry

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """What one batch of one place came to."""

    place: str
    resealed: int
    refused: int


@dataclass(frozen=True, slots=True)
class _Batch:
    last: int | str | None
    resealed: int
    refused: int


def rotate(*, batch: int = BATCH) -> Iterator[Progress]:
    """Re-seal place by place; yields after every committed batch."""
    ensure_canary()
    refused = 0
    for progress in _rotate_all(batch):
        refused += progress.refused
        yield progress
        failpoint("keychain.rotate.after_batch")
    left = left_over()
    if refused == left == 0:
        delete_canaries_except(keyring().first.id)
    audit("keychain.rotated", subject=keyring().first.id, detail=f"{left} left over")


def left_over() -> int:
    """How many sealed values another key than the first one sealed."""
    entries = sum(_entries(model).count() for model in ENTRY_MODELS)
    return entries + sum(_rows(column).count() for column in sealed_columns())


def _rotate_all(batch: int) -> Iterator[Progress]:
    for model in ENTRY_MODELS:
        yield from _rotate_entries(model, batch)
    for column in sealed_columns():
        yield from _rotate_column(column, batch)


# --- the keychain's own rows ----------------------------------------------------------


def _entries(model: type[SealedEntry]) -> QuerySet[Any]:
    rows = model._default_manager.exclude(sealing_key_id=keyring().first.id)
    if model is SecretEntry:
        # A canary is never re-sealed: it stands for the key that sealed it.
        rows = rows.exclude(pk__in=canaries().values("pk"))
    return rows.order_by("pk")


def _rotate_entries(model: type[SealedEntry], batch: int) -> Iterator[Progress]:
    done = _Batch(0, 0, 0)
    while True:
        done = _reseal_entries(model, done.last, batch)
        if done.last is None:
            return
        yield Progress(model._meta.label, done.resealed, done.refused)


@transaction.atomic
def _reseal_entries(
    model: type[SealedEntry], after: int | str | None, batch: int
) -> _Batch:
    rows = list(_entries(model).filter(pk__gt=after).select_for_update()[:batch])
    resealed = []
    for row in rows:
        try:
            seal_into(row, keyring().open(row.context, row.sealed))
        except DecryptionFailed:
            report(row, "does not open")
        else:
            resealed.append(row)
    model._default_manager.bulk_update(resealed, ["sealed", "sealing_key_id"])
    last = rows[-1].pk if rows else None
    return _Batch(last, len(resealed), len(rows) - len(resealed))


# --- columns of other apps ------------------------------------------------------------


def _rows(column: SealedColumn) -> QuerySet[Any]:
    front = keyring().first.front
    begins = Func(
        F(column.column),
        Value(1),
        Value(len(front)),
        function="substring",
        output_field=BinaryField(),
    )
    model: type[Model] = apps.get_model(column.model)
    return (
        model._default_manager.alias(begins=begins)
        .exclude(**{column.column: b""})
        .exclude(begins=front)
        .select_related(*column.related)
        .order_by("pk")
    )


def _rotate_column(column: SealedColumn, batch: int) -> Iterator[Progress]:
    done = _Batch(None, 0, 0)
    while True:
        done = _reseal_column(column, done.last, batch)
        if done.last is None:
            return
        yield Progress(str(column), done.resealed, done.refused)


@transaction.atomic
def _reseal_column(column: SealedColumn, after: int | str | None, batch: int) -> _Batch:
    rows = _rows(column).select_for_update(of=("self",))
    if after is not None:
        rows = rows.filter(pk__gt=after)
    found = list(rows[:batch])
    resealed = []
    for row in found:
        context = column.context(row)
        try:
            plaintext = keyring().open(context, getattr(row, column.column))
        except DecryptionFailed:
            continue
        setattr(row, column.column, keyring().seal(context, plaintext))
        resealed.append(row)
    if resealed:
        type(resealed[0])._default_manager.bulk_update(resealed, [column.column])
    last = found[-1].pk if found else None
    return _Batch(last, len(resealed), len(found) - len(resealed))
