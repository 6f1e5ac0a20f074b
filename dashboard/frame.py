"""The frame around every signed-in page: navigation, accounts, live-update cursor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, cast

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from preferences.services import EPOCH_KEY
from subscriptions.services import unread_of_users
from syncstore.models import Store, StoreEntry
from syncstore.names import PREFERENCES_STORE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django_stubs_ext import StrPromise, WithAnnotations

    from accounts.models import Device
    from dashboard.access import MemberRequest

    class Sync(TypedDict):
        is_synced: bool
        # Started on another server of the wallet, and not here yet.
        has_new_epoch: bool

    SyncedAccount = WithAnnotations[Account, Sync]

# Section, label, second part of the label that narrow bars leave out, icon.
SECTIONS = (
    ("inbox", _("Inbox"), "", "inbox"),
    ("subscription-list", _("Subscriptions"), "", "bell"),
    ("discover", _("Discover"), "", "compass"),
    ("device-list", _("Devices"), _("& sync"), "monitor-smartphone"),
    ("console", _("Console"), "", "square-terminal"),
)
# Counting stops here ("999+"): it bounds the query on large inboxes.
MAX_COUNTED = 999


@dataclass(frozen=True, slots=True)
class NavigationItem:
    name: str
    label: StrPromise
    more: StrPromise | str
    icon: str
    url: str
    current: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """``generation`` and ``sequence`` are the browser's cursor. They are read before the
    content: an event in between is then sent twice instead of being missed."""

    device: Device
    accounts: list[SyncedAccount]
    account: Account | None
    navigation: list[NavigationItem]
    unread: str
    generation: str
    sequence: int
    demo: bool
    all_accounts_url: str

    @property
    def account_pk(self) -> int | None:
        return self.account.pk if self.account else None

    @property
    def shown_account(self) -> Account | None:
        """The chosen account; of several without a choice, the oldest stands for them."""
        return self.account or next(iter(self.accounts), None)


def accounts_of(user_id: int) -> list[SyncedAccount]:
    """The user's accounts, oldest first, annotated with ``is_synced`` and ``has_new_epoch``."""
    stores = Store.objects.filter(account=OuterRef("pk"))
    announced = StoreEntry.objects.filter(
        store__account=OuterRef("pk"),
        store__name=PREFERENCES_STORE,
        key=EPOCH_KEY,
        is_deleted=False,
    )
    found = Account.objects.of_user(user_id).annotate(
        is_synced=Exists(stores), has_new_epoch=Exists(announced)
    )
    return cast("list[SyncedAccount]", list(found.order_by("pk")))


def unread_number(user_id: int) -> int:
    return unread_numbers([user_id])[user_id]


def unread_numbers(user_ids: Collection[int]) -> dict[int, int]:
    return unread_of_users(user_ids, most=MAX_COUNTED + 1)


def format_count(number: int) -> str:
    """A badge: "" for 0, "999+" above ``MAX_COUNTED``."""
    if number > MAX_COUNTED:
        return f"{MAX_COUNTED}+"
    return str(number) if number else ""


def chosen_account(
    request: MemberRequest, accounts: Sequence[Account]
) -> Account | None:
    """The account named by ``?account=``; 404 for another user's."""
    wanted = request.GET.get("account", "")
    if not wanted:
        return None
    for account in accounts:
        if str(account.pk) == wanted:
            return account
    raise Http404


def frame_of(request: MemberRequest, section: str) -> Frame:
    accounts = accounts_of(request.user.pk)
    account = chosen_account(request, accounts)
    suffix = f"?account={account.pk}" if account else ""
    return Frame(
        device=request.device,
        accounts=accounts,
        account=account,
        navigation=[
            NavigationItem(
                name=name,
                label=label,
                more=more,
                icon=icon,
                url=reverse(f"dashboard:{name}")
                + (suffix if name != "console" else ""),
                current=name == section,
            )
            for name, label, more, icon in SECTIONS
        ],
        unread=format_count(unread_number(request.user.pk)),
        generation=str(request.user.event_generation),
        sequence=request.user.event_sequence,
        demo=settings.DEMO,
        all_accounts_url=request.path,
    )


def page(
    request: MemberRequest,
    template: str,
    *,
    section: str,
    frame: Frame | None = None,
    status: int = 200,
    **context: object,
) -> HttpResponse:
    """Render ``dashboard/<template>.html`` in its frame."""
    context["frame"] = frame or frame_of(request, section)
    return render(request, f"dashboard/{template}.html", context, status=status)
