"""Passphrases for the commands: from a file, since arguments are visible to every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.management.base import CommandError

if TYPE_CHECKING:
    from pathlib import Path


def read_passphrase(path: Path | None) -> str:
    """The first line of the file; empty without a file."""
    if path is None:
        return ""
    try:
        with path.open(encoding="utf-8") as file:
            line = file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}", returncode=2) from None
    if not line:
        raise CommandError(f"{path}: the first line is empty", returncode=2)
    return line
