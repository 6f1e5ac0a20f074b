"""Signals for apps above ``accounts`` that keep rows for devices and accounts.

Receivers are connected in ``AppConfig.ready`` and run in the transaction of the change:
they write rows and use no network, and what they raise undoes the change.
"""

from __future__ import annotations

from django.dispatch import Signal

# ``devices: list[Device]`` were revoked.
devices_revoked = Signal()
# ``devices: list[Device]`` signed out or were idle for too long.
sessions_ended = Signal()
# ``account: Account`` has just signed in with its wallet.
account_proven = Signal()
# ``account: Account`` will be removed. Its keys still sign: queue what peers must receive.
account_closing = Signal()
# ``account: Account`` is about to be deleted; sent after ``account_closing``, so that keys
# are not retired before the last messages were signed with them.
account_removing = Signal()
