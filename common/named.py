"""Callbacks by name, of which an app registers each once.

An app that calls others without importing them has a ``Named`` per kind of callback; those
others register in their ``handlers.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T", bound="Callable[..., object]")


class Named(dict[str, T]):
    """The callback of each name; ``kind`` is what the names are of, for errors."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate the one callback of ``name``; importing it again is no second one."""

        def decorate(callback: T) -> T:
            if self.setdefault(name, callback) is not callback:
                raise ValueError(f"{self.kind} {name} is registered already")
            return callback

        return decorate
