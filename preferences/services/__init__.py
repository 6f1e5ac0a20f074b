"""Changing preferences, merging those of other devices, and announcing what is here."""

from __future__ import annotations

from preferences.services.change import (
    EPOCH_KEY,
    Change,
    TooManyPreferences,
    announce_epoch,
    change,
    collide,
    lock,
    time_of,
)
from preferences.services.receive import announce, receive

__all__ = [
    "EPOCH_KEY",
    "Change",
    "TooManyPreferences",
    "announce",
    "announce_epoch",
    "change",
    "collide",
    "lock",
    "receive",
    "time_of",
]
