"""Upwards by registration: what other apps do when a device or an account comes or goes.

``accounts`` is below every app that keeps something for a device or an account. They
register here, in ``AppConfig.ready``; their functions run in the transaction of the
change, so they write rows (outbox, jobs) and never reach out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from accounts.models import Account, Device

WhenDevicesEnd: TypeAlias = Callable[[list[Device]], None]
BeforeRemoval: TypeAlias = Callable[[Account], None]
WhenProven: TypeAlias = Callable[[Account], None]

_when_devices_revoked: list[WhenDevicesEnd] = []
_when_sessions_end: list[WhenDevicesEnd] = []
_before_account_removal: list[BeforeRemoval] = []
_when_accounts_are_proven: list[WhenProven] = []


def when_devices_are_revoked(function: WhenDevicesEnd) -> WhenDevicesEnd:
    """Have ``function`` called with the devices that have just been revoked."""
    if function not in _when_devices_revoked:
        _when_devices_revoked.append(function)
    return function


def when_sessions_end(function: WhenDevicesEnd) -> WhenDevicesEnd:
    """Have ``function`` called with devices that signed out or were away too long."""
    if function not in _when_sessions_end:
        _when_sessions_end.append(function)
    return function


def before_account_removal(function: BeforeRemoval) -> BeforeRemoval:
    """Have ``function`` called with an account whose rows are about to be deleted."""
    if function not in _before_account_removal:
        _before_account_removal.append(function)
    return function


def when_accounts_are_proven(function: WhenProven) -> WhenProven:
    """Have ``function`` called with an account that somebody has just signed in with."""
    if function not in _when_accounts_are_proven:
        _when_accounts_are_proven.append(function)
    return function


def devices_revoked(devices: list[Device]) -> None:
    for function in _when_devices_revoked:
        function(devices)


def sessions_ended(devices: list[Device]) -> None:
    for function in _when_sessions_end:
        function(devices)


def account_proven(account: Account) -> None:
    for function in _when_accounts_are_proven:
        function(account)


def account_removing(account: Account) -> None:
    # Apps above go first: their farewells are signed with keys that apps below keep.
    for function in reversed(_before_account_removal):
        function(account)
