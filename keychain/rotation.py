"""Re-seals everything under the first key of ``KEYCHAIN_KEYS``, online.

Works in batches, one transaction each, on rows that another key sealed. An interrupted run
is continued by the next one. A row that does not open is counted and left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

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
    """The result of one batch of one table or column."""

    place: str
    resealed: int
    refused: int


# The last key that was looked at (None: no row was left), how many rows were re-sealed,
# how many did not open.
_Batch: TypeAlias = "tuple[int | str | None, int, int]"


def rotate(*, batch: int = BATCH) -> Iterator[Progress]:
    """Re-seal place by place; yields after every committed batch."""
    ensure_canary()
    refused = 0
    for place, reseal in [
        *(
            (model._meta.label, partial(_reseal_entries, model))
            for model in ENTRY_MODELS
        ),
        *(
            (str(column), partial(_reseal_column, column))
            for column in sealed_columns()
        ),
    ]:
        last: int | str | None = None
        while True:
            last, resealed, not_opened = reseal(last, batch)
            if last is None:
                break
            refused += not_opened
            yield Progress(place, resealed, not_opened)
            failpoint("keychain.rotate.after_batch")
    left = left_over()
    if refused == left == 0:
        delete_canaries_except(keyring().first.id)
    audit("keychain.rotated", subject=keyring().first.id, detail=f"{left} left over")


def left_over() -> int:
    """How many sealed values another key than the first one sealed."""
    entries = sum(_entries(model).count() for model in ENTRY_MODELS)
    return entries + sum(_rows(column).count() for column in sealed_columns())


# --- the keychain's own rows ----------------------------------------------------------


def _entries(model: type[SealedEntry]) -> QuerySet[Any]:
    rows = model._default_manager.exclude(sealing_key_id=keyring().first.id)
    if model is SecretEntry:
        # A canary proves the key that sealed it, so it is never re-sealed.
        rows = rows.exclude(pk__in=canaries().values("pk"))
    return rows.order_by("pk")


@transaction.atomic
def _reseal_entries(
    model: type[SealedEntry], after: int | str | None, batch: int
) -> _Batch:
    # Locked: a secret that is replaced at this moment must not be overwritten by the old one.
    entries = _entries(model).select_for_update()
    if after is not None:
        entries = entries.filter(pk__gt=after)
    rows = list(entries[:batch])
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
    return last, len(resealed), len(rows) - len(resealed)


# --- columns of other apps ------------------------------------------------------------


def _rows(column: SealedColumn) -> QuerySet[Any]:
    prefix = keyring().first.prefix
    begins = Func(
        F(column.column),
        Value(1),
        Value(len(prefix)),
        function="substring",
        output_field=BinaryField(),
    )
    model: type[Model] = apps.get_model(column.model)
    return (
        model._default_manager.alias(begins=begins)
        .exclude(**{column.column: b""})
        .exclude(begins=prefix)
        .select_related(*column.related)
        .order_by("pk")
    )


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
    return last, len(resealed), len(found) - len(resealed)
