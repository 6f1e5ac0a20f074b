"""Sealed columns of other apps.

An app that stores a secret in a column of its own seals it with a ``Context`` of that place
and registers the column in ``AppConfig.ready``, so that ``rotate_keychain`` re-seals it. A
column holds ``b""`` where there is no secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keychain.keyring import keyring

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db import models


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """``model`` is "app.Model"; ``related`` names what ``context_of`` follows."""

    model: str
    column: str
    context_of: Callable[[Any], tuple[str, str, str, str]]
    related: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.model}.{self.column}"

    def context(self, row: models.Model) -> tuple[str, str, str, str]:
        return self.context_of(row)


_columns: dict[tuple[str, str], SealedColumn] = {}


def register_sealed_column(column: SealedColumn) -> None:
    """Have ``rotate_keychain`` re-seal this column; registering twice changes nothing."""
    _columns[column.model, column.column] = column


def sealed_columns() -> list[SealedColumn]:
    return [_columns[key] for key in sorted(_columns)]


def seal(context: tuple[str, str, str, str], plaintext: bytes) -> bytes:
    """``plaintext`` sealed for the place that ``context`` names."""
    return keyring().seal(context, plaintext)


def open_sealed(
    context: tuple[str, str, str, str], sealed: bytes | memoryview
) -> bytes:
    """What ``seal`` was given; ``DecryptionFailed`` if it was sealed for another place."""
    return keyring().open(context, sealed)
