"""The steps of the two-window demo; rows in the database mark them as done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from accounts.models import AccountEvent, Device, EventKind
from subscriptions.models import NotifyMessageRecord, Subscription
from syncstore.models import Store, StoreUpdate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_stubs_ext import StrPromise


@dataclass(frozen=True, slots=True)
class ScriptStep:
    done: bool
    title: StrPromise
    text: StrPromise
    action: StrPromise | str = ""
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
            _("Sign in and turn Sync on"),
            _(
                "The demo wallet signs two texts: the login, and the key that devices share."
            ),
        ),
        ScriptStep(
            devices.active().count() > 1,
            _("Open a second device"),
            _("The other window signs in by itself. Put the two side by side."),
            _("Show how"),
            "device-list",
        ),
        ScriptStep(
            subscriptions.exists() and applied.exists(),
            _("Subscribe in this window"),
            _(
                "The row appears in the other window by itself, and the twenty steps are shown "
                "here as they happen."
            ),
            _("Discover dapps"),
            "discover",
        ),
        ScriptStep(
            records.exists(),
            _("Send yourself a notification"),
            _("As the dapp, from the console. Both windows show it at once."),
            _("Send one"),
            "project-send",
            slug,
        ),
        ScriptStep(
            records.exclude(read_at=None).exists(),
            _("Read it here"),
            _("The unread mark disappears in the other window, too."),
            _("Open the inbox"),
            "inbox",
        ),
        ScriptStep(
            events.filter(kind=EventKind.UPDATE).exists(),
            _("Turn a type off in the other window"),
            _("The switch here moves, and the sync log shows which device did it."),
            _("See the sync log"),
            "sync",
        ),
        ScriptStep(
            subscriptions.exclude(deleted_at=None).exists(),
            _("Unsubscribe in the other window"),
            _("It leaves the list in this one."),
            _("Subscriptions"),
            "subscription-list",
        ),
        ScriptStep(
            devices.exclude(revoked_at=None).exists(),
            _("Sign the other device out"),
            _("It is signed out at once and shows which device did it."),
            _("Devices"),
            "device-list",
        ),
    ]
