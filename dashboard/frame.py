"""What every page of a signed-in person shows around its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, cast

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from accounts.models import Account
from subscriptions.models import NotifyMessageRecord
from syncstore.models import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_stubs_ext import WithAnnotations

    from accounts.models import Device
    from dashboard.access import MemberRequest

    class Sync(TypedDict):
        is_synced: bool

    SyncedAccount = WithAnnotations[Account, Sync]

# Name of the page's section, label, what a narrow bar leaves out of it, icon.
SECTIONS = (
    ("inbox", "Inbox", "", "inbox"),
    ("subscription-list", "Subscriptions", "", "bell"),
    ("discover", "Discover", "", "compass"),
    ("device-list", "Devices", "& sync", "monitor-smartphone"),
    ("console", "Console", "", "square-terminal"),
)
# Above this a number says nothing more: "999+".
MAX_COUNTED = 999


@dataclass(frozen=True, slots=True)
class NavigationItem:
    name: str
    label: str
    more: str
    icon: str
    url: str
    current: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """``generation`` and ``sequence`` are the browser's cursor: read before the content,
    so that a change in between is sent again rather than missed."""

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


def accounts_of(user_id: int) -> list[SyncedAccount]:
    """The person's accounts, oldest first, each knowing whether it has Sync."""
    stores = Store.objects.filter(account=OuterRef("pk"))
    found = Account.objects.of_user(user_id).annotate(is_synced=Exists(stores))
    return cast("list[SyncedAccount]", list(found.order_by("pk")))


def unread_number(user_id: int) -> int:
    rows = NotifyMessageRecord.objects.filter(
        subscription__account__user_id=user_id, read_at=None, archived_at=None
    )
    return rows[: MAX_COUNTED + 1].count()


def count_words(number: int) -> str:
    """A number of unread or new things as every page shows it; nothing for none."""
    if number > MAX_COUNTED:
        return f"{MAX_COUNTED}+"
    return str(number) if number else ""


def chosen_account(
    request: MemberRequest, accounts: Sequence[Account]
) -> Account | None:
    """The account that ``?account=`` names; another person's account is not there."""
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
        unread=count_words(unread_number(request.user.pk)),
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
    """Render a page in its frame."""
    context["frame"] = frame or frame_of(request, section)
    return render(request, f"dashboard/{template}.html", context, status=status)
