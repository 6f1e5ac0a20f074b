"""The steps of the two-window demo; rows in the database mark them as done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db.models import F
from django.utils.translation import gettext_lazy as _

from accounts.models import AuditEntry, Device
from subscriptions.models import NotifyMessageRecord, Subscription
from syncstore.models import Store, StoreCheck, StoreUpdate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_stubs_ext import StrPromise

CAUGHT_UP: Final = "demo.caught-up"
CHANGES_WHILE_AWAY: Final = 3


@dataclass(frozen=True, slots=True)
class ScriptStep:
    done: bool
    title: StrPromise
    text: StrPromise
    action: StrPromise | str = ""
    url_name: str = ""
    slug: str = ""
    # A control of its own instead of a link: "collide", "offline" or "verify".
    control: str = ""


def demo_script(user_id: int, slug: str) -> Sequence[ScriptStep]:
    """The ten steps. What ticks one stays true when the demo goes on."""
    subscriptions = Subscription.objects.of_user(user_id)
    records = NotifyMessageRecord.objects.filter(subscription__account__user_id=user_id)
    devices = Device.objects.filter(user_id=user_id)
    updates = StoreUpdate.objects.filter(store__account__user_id=user_id)
    signed_out = devices.exclude(revoked_by=None).exclude(revoked_by=F("pk"))
    caught_up = AuditEntry.objects.filter(user_id=user_id, action=CAUGHT_UP)
    return [
        ScriptStep(
            Store.objects.filter(account__user_id=user_id).exists(),
            _("Sign in and turn Sync on"),
            _(
                "The demo wallet signs two texts: the login, and the key that devices share."
            ),
        ),
        ScriptStep(
            devices.count() > 1,
            _("Open a second device"),
            _("The other window signs in by itself. Put the two side by side."),
            _("Show how"),
            "device-list",
        ),
        ScriptStep(
            subscriptions.exists()
            and updates.filter(outcome=StoreUpdate.Outcome.APPLIED).exists(),
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
            subscriptions.exclude(changed_at=None).exists(),
            _("Turn a type off in the other window"),
            _("The switch here moves, and the sync log shows which device did it."),
            _("See the sync log"),
            "sync",
        ),
        ScriptStep(
            updates.filter(outcome=StoreUpdate.Outcome.STALE).exists(),
            _("Let both devices change one thing at the same moment"),
            _(
                "Both mute the dapp for different times. The sync log shows which update won, "
                "and the other one as “older, ignored”; both windows end with the same."
            ),
            control="collide",
        ),
        ScriptStep(
            caught_up.exists(),
            _("Go offline, make three changes in the other window, come back"),
            _(
                "This window catches up from the last change that it had: nothing is lost."
            ),
            control="offline",
        ),
        ScriptStep(
            StoreCheck.objects.filter(
                account__user_id=user_id, state=StoreCheck.State.DONE
            )
            .exclude(reports=[])
            .exclude(reports__contains=[{"differences": [{}]}])
            .exists(),
            _("Compare the stores with the archive"),
            _(
                "They are rebuilt from the History Server. The command prints “identical”."
            ),
            control="verify",
        ),
        ScriptStep(
            signed_out.exists(),
            _("Sign the other device out"),
            _("It is signed out at once and shows which device did it."),
            _("Devices"),
            "device-list",
        ),
    ]


def something_to_collide_on(user_id: int) -> Subscription | None:
    return (
        Subscription.objects.of_user(user_id)
        .active()
        .select_related("account")
        .filter(account__stores__isnull=False)
        .order_by("pk")
        .first()
    )
