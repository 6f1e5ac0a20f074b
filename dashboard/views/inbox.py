"""``/inbox``: the list, one notification, and the actions on notifications."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from django.http import Http404, HttpResponse, HttpResponseBadRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext, ngettext_lazy
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Device
from dashboard import fragments
from dashboard.access import member
from dashboard.frame import frame_of, page
from dashboard.keys import parse_pk
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
    """One notification. Opening it marks it as read on all devices."""
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
    """The open notification for a page that already shows the list, and its changed row."""
    tab = request.GET.get("tab", "all")
    aside = render_to_string(
        "components/message_aside.html",
        {"selected": MessagePage.of(record), "row_query": _row_query(request, tab)},
        request=request,
    )
    row = fragments.message_rows([record])
    return HttpResponse(aside + row + fragments.unread_counts(request.user.pk))


def _row_query(request: MemberRequest, tab: str) -> str:
    """Query string for links to notifications, so that they keep the current list."""
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
    position = pages.ListPosition(
        newest=parse_pk(request.headers.get("X-Newest-Row", "")),
        hold=parse_pk(request.headers.get("X-Hold-Rows", "")) or 0,
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
        inbox=pages.inbox_page(request.user.pk, wanted, position),
        row_query=_row_query(request, wanted.tab),
        selected=MessagePage.of(selected) if selected is not None else None,
        has_subscriptions=has_subscriptions,
        first_steps=_first_steps(request, frame, has_subscriptions=has_subscriptions),
    )


def _first_steps(
    request: MemberRequest, frame: Frame, *, has_subscriptions: bool
) -> list[FirstStep]:
    """Suggest a second device once there is something to share and only one device."""
    if not has_subscriptions:
        return []
    if Device.objects.active().filter(user=request.user).count() > 1:
        return []
    if not any(account.is_synced for account in frame.accounts):
        return []
    return [
        FirstStep(
            "monitor-smartphone",
            gettext("Add a second device"),
            gettext(
                "Sign in with the same wallet in another browser to get the same inbox."
            ),
            gettext("Show how"),
            reverse("dashboard:device-list") + "#second",
        )
    ]


# --- actions --------------------------------------------------------------------------

# Service, the action that undoes it, confirmation for one and for several.
_ACTIONS: Final = {
    "read": (
        read_state.mark_read,
        "unread",
        ngettext_lazy(
            "Marked as read.", "%(count)d notifications: marked as read.", "count"
        ),
    ),
    "unread": (
        read_state.mark_unread,
        "read",
        ngettext_lazy(
            "Marked as unread.", "%(count)d notifications: marked as unread.", "count"
        ),
    ),
    "archive": (
        read_state.archive,
        "unarchive",
        ngettext_lazy("Archived.", "%(count)d notifications: archived.", "count"),
    ),
    "unarchive": (
        read_state.unarchive,
        "archive",
        ngettext_lazy(
            "Moved back to the inbox.",
            "%(count)d notifications: moved back to the inbox.",
            "count",
        ),
    ),
}


@member
@require_POST
def act(request: MemberRequest) -> HttpResponse:
    """``act`` is ``read:17``, ``read:17,18``, or ``read:chosen`` with ``chosen`` fields."""
    name, _, wanted = request.POST.get("act", "").partition(":")
    if name not in _ACTIONS:
        return HttpResponseBadRequest("There is no such action.")
    service, opposite, confirmation = _ACTIONS[name]
    keys = _keys(
        request.POST.getlist("chosen") if wanted == "chosen" else wanted.split(",")
    )
    records = list(pages.records_of(request.user.pk).filter(pk__in=keys).order_by("pk"))
    if wanted != "chosen" and not records:
        raise Http404
    service(records, request.device)
    fresh = pages.records_of(request.user.pk).filter(pk__in=[r.pk for r in records])
    html = fragments.message_rows(fresh) + fragments.unread_counts(request.user.pk)
    return done(
        request,
        confirmation % {"count": max(1, len(records))},
        html=html,
        undo=f"{opposite}:{','.join(str(record.pk) for record in records)}",
        default=reverse("dashboard:inbox"),
    )


def _keys(texts: list[str]) -> list[int]:
    keys = map(parse_pk, texts[:MAX_BULK_ACTIONS])
    return [key for key in keys if key is not None]
