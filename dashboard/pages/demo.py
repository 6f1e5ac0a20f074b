"""The script of the two-window demo, ticked by what really happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from accounts.models import AccountEvent, Device, EventKind
from subscriptions.models import NotifyMessageRecord, Subscription
from syncstore.models import Store, StoreUpdate

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class ScriptStep:
    done: bool
    title: str
    text: str
    action: str = ""
    url_name: str = ""
    slug: str = ""


def demo_script(user_id: int, slug: str) -> Sequence[ScriptStep]:
    subscriptions = Subscription.objects.of_user(user_id)
    records = NotifyMessageRecord.objects.filter(subscription__account__user_id=user_id)
    devices = Device.objects.filter(user_id=user_id)
    events = AccountEvent.objects.filter(user_id=user_id)
    applied = StoreUpdate.objects.filter(
        store__account__user_id=user_id, outcome=StoreUpdate.Outcome.APPLIED
    )
    return [
        ScriptStep(
            Store.objects.filter(account__user_id=user_id).exists(),
            "Sign in and turn Sync on",
            "The demo wallet signs two texts: the login, and the key that devices share.",
        ),
        ScriptStep(
            devices.active().count() > 1,
            "Open a second device",
            "The other window signs in by itself. Put the two side by side.",
            "Show how",
            "device-list",
        ),
        ScriptStep(
            subscriptions.exists() and applied.exists(),
            "Subscribe in this window",
            "The row appears in the other window by itself; the twenty steps are shown "
            "here as they happen.",
            "Discover dapps",
            "discover",
        ),
        ScriptStep(
            records.exists(),
            "Send yourself a notification",
            "As the dapp, from the console. Both windows show it at once.",
            "Send one",
            "project-send",
            slug,
        ),
        ScriptStep(
            records.exclude(read_at=None).exists(),
            "Read it here",
            "The unread mark goes in the other window, too.",
            "Open the inbox",
            "inbox",
        ),
        ScriptStep(
            events.filter(kind=EventKind.UPDATE).exists(),
            "Turn a type off in the other window",
            "The switch here moves, and the sync log says who did it.",
            "See the sync log",
            "sync",
        ),
        ScriptStep(
            subscriptions.exclude(deleted_at=None).exists(),
            "Unsubscribe in the other window",
            "It leaves the list in this one.",
            "Subscriptions",
            "subscription-list",
        ),
        ScriptStep(
            devices.exclude(revoked_at=None).exists(),
            "Sign the other device out",
            "It says at once which device did it.",
            "Devices",
            "device-list",
        ),
    ]
