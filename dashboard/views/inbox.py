"""``/inbox``: the list, one notification, and what can be done with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from django.http import Http404, HttpResponse, HttpResponseBadRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Device
from dashboard import fragments
from dashboard.access import member
from dashboard.frame import frame_of, page
from dashboard.keys import key_of
from dashboard.pages import inbox as pages
from dashboard.pages.message import MessagePage
from dashboard.views.responses import done
from subscriptions.models import Subscription
from subscriptions.services.messages import read_state

if TYPE_CHECKING:
    from dashboard.access import MemberRequest
    from dashboard.frame import Frame
    from subscriptions.models import NotifyMessageRecord

MAX_BULK_ACTIONS: Final = 500


@dataclass(frozen=True, slots=True)
class FirstStep:
    icon: str
    title: str
    text: str
    action: str
    url: str


@member
@require_safe
def inbox(request: MemberRequest) -> HttpResponse:
    return _inbox(request, selected=None)


@member
@require_safe
def message(request: MemberRequest, pk: int) -> HttpResponse:
    """One notification. Opening it reads it, on every device."""
    record = pages.record_of(request.user.pk, pk)
    if record is None:
        raise Http404
    if record.read_at is None and "X-Refetch" not in request.headers:
        read_state.mark_read([record], request.device)
        record.refresh_from_db(fields=["read_at", "read_by"])
    if "X-Detail" in request.headers:
        return _detail(request, record)
    return _inbox(request, selected=record)


def _detail(request: MemberRequest, record: NotifyMessageRecord) -> HttpResponse:
    """The open notification for a page that has its list already, and what it changed."""
    tab = request.GET.get("tab", "all")
    aside = render_to_string(
        "components/message_aside.html",
        {"selected": MessagePage.of(record), "row_query": _row_query(request, tab)},
        request=request,
    )
    row = fragments.message_rows([record])
    return HttpResponse(aside + row + fragments.unread_counts(request.user.pk))


def _row_query(request: MemberRequest, tab: str) -> str:
    """What an address of a notification adds, so that its list is the present one."""
    parameters = request.GET.copy()
    parameters["tab"] = tab
    return parameters.urlencode()


def _inbox(
    request: MemberRequest, *, selected: NotifyMessageRecord | None
) -> HttpResponse:
    frame = frame_of(request, "inbox")
    wanted = pages.InboxFilter.of(request.GET, frame.account_pk)
    if selected is not None and "tab" not in request.GET:
        wanted = replace(wanted, tab="all")
    place = pages.Place(
        newest=key_of(request.headers.get("X-Newest-Row", "")),
        hold=key_of(request.headers.get("X-Hold-Rows", "")) or 0,
        opened=(
            *([selected.pk] if selected is not None else []),
            *_keys(request.headers.get("X-Opened-Rows", "").split(",")),
        ),
    )
    has_subscriptions = Subscription.objects.of_user(request.user.pk).exists()
    return page(
        request,
        "inbox",
        section="inbox",
        frame=frame,
        inbox=pages.inbox_page(request.user.pk, wanted, place),
        row_query=_row_query(request, wanted.tab),
        selected=MessagePage.of(selected) if selected is not None else None,
        has_subscriptions=has_subscriptions,
        first_steps=_first_steps(request, frame, has_subscriptions=has_subscriptions),
    )


def _first_steps(
    request: MemberRequest, frame: Frame, *, has_subscriptions: bool
) -> list[FirstStep]:
    """At most one card, once there is something to share and nobody to share with."""
    if not has_subscriptions:
        return []
    if Device.objects.active().filter(user=request.user).count() > 1:
        return []
    if not any(account.is_synced for account in frame.accounts):
        return []
    return [
        FirstStep(
            "monitor-smartphone",
            "Add a second device",
            "Sign in with the same wallet in another browser: everything is there.",
            "Show how",
            reverse("dashboard:device-list") + "#second",
        )
    ]


# --- acting ---------------------------------------------------------------------------

_SERVICES: Final = {
    "read": read_state.mark_read,
    "unread": read_state.mark_unread,
    "archive": read_state.archive,
    "unarchive": read_state.unarchive,
}
_WORDS: Final = {
    "read": ("Marked as read.", "unread"),
    "unread": ("Marked as unread.", "read"),
    "archive": ("Archived.", "unarchive"),
    "unarchive": ("Moved back to the inbox.", "archive"),
}


@member
@require_POST
def act(request: MemberRequest) -> HttpResponse:
    """``act`` is ``read:17`` or ``archive:chosen`` (with ``chosen`` fields), or a list."""
    name, _, wanted = request.POST.get("act", "").partition(":")
    if name not in _WORDS:
        return HttpResponseBadRequest("There is no such action.")
    keys = _keys(
        request.POST.getlist("chosen") if wanted == "chosen" else wanted.split(",")
    )
    records = list(pages.records_of(request.user.pk).filter(pk__in=keys).order_by("pk"))
    if wanted != "chosen" and not records:
        raise Http404
    _SERVICES[name](records, request.device)
    fresh = pages.records_of(request.user.pk).filter(pk__in=[r.pk for r in records])
    html = fragments.message_rows(fresh) + fragments.unread_counts(request.user.pk)
    words, opposite = _WORDS[name]
    if len(records) > 1:
        words = f"{len(records)} notifications: {words[0].lower()}{words[1:]}"
    return done(
        request,
        words,
        html=html,
        undo=f"{opposite}:{','.join(str(record.pk) for record in records)}",
        otherwise=reverse("dashboard:inbox"),
    )


def _keys(texts: list[str]) -> list[int]:
    keys = map(key_of, texts[:MAX_BULK_ACTIONS])
    return [key for key in keys if key is not None]
