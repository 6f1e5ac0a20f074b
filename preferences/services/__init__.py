"""Changing preferences, merging those of other devices, and announcing what is here."""

from __future__ import annotations

from preferences.services.change import (
    Change,
    TooManyPreferences,
    change,
    collide,
    lock,
    time_of,
)
from preferences.services.receive import announce, receive

__all__ = [
    "Change",
    "TooManyPreferences",
    "announce",
    "change",
    "collide",
    "lock",
    "receive",
    "time_of",
]
