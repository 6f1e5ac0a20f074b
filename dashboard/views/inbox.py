"""``/inbox``: the list, one notification, and the actions on notifications."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.contrib import messages
from django.http import (
    Http404,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseRedirect,
    QueryDict,
)
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, ngettext_lazy
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Account, Device
from common import clock
from dashboard import fragments
from dashboard.access import member, or_404, safe_next
from dashboard.formatting import format_time
from dashboard.frame import frame_of, page
from dashboard.keys import parse_pk
from dashboard.message_rows import message_list
from dashboard.models import SavedFilter
from dashboard.pages import inbox as pages
from dashboard.pages.first_steps import first_steps
from dashboard.pages.message import MessagePage, icon_of
from dashboard.views.responses import done
from subscriptions.models import NotifyMessageRecord, Subscription
from subscriptions.services.messages import read_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django_stubs_ext import StrPromise

    from dashboard.access import MemberRequest
    from subscriptions.models.subscriptions import NotifyMessageRecordQuerySet

MAX_BULK_ACTIONS: Final = 900


@member
@require_safe
def inbox(request: MemberRequest) -> HttpResponse:
    return _inbox(request, selected=None)


@member
@require_safe
def message(request: MemberRequest, pk: int) -> HttpResponse:
    """One notification. Opening it marks it as read on all devices."""
    record = or_404(pages.record_of(request.user.pk, pk))
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
    row = fragments.rows_of_messages(request.user.pk, [record.pk])
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
    found = pages.inbox_page(request.user.pk, wanted, position)
    row_query = _row_query(request, wanted.tab)
    return page(
        request,
        "inbox",
        section="inbox",
        frame=frame,
        inbox=found,
        rows=message_list(
            found.rows,
            query=row_query,
            selected_pk=selected.pk if selected is not None else None,
        ),
        row_query=row_query,
        selected=MessagePage.of(selected) if selected is not None else None,
        has_subscriptions=has_subscriptions,
        # There is nothing to filter yet: the page shows how to begin instead.
        is_new=not (has_subscriptions or found.rows or wanted.is_filtered),
        first_steps=first_steps(request, frame, has_subscriptions=has_subscriptions),
    )


# --- actions --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Action:
    """``service`` takes the records, the device and the time of the change. ``column`` is
    where that time is kept; empty for what clears it. ``undo`` is the opposite action."""

    service: Callable[[Iterable[NotifyMessageRecord], Device, datetime], int]
    undo: str
    column: str
    # For one notification and for several.
    confirmation: StrPromise


_ACTIONS: Final = {
    "read": Action(
        read_state.mark_read,
        "unread",
        "read_at",
        ngettext_lazy(
            "Marked as read.", "%(count)d notifications: marked as read.", "count"
        ),
    ),
    "unread": Action(
        lambda records, device, _: read_state.mark_unread(records, device),
        "read",
        "",
        ngettext_lazy(
            "Marked as unread.", "%(count)d notifications: marked as unread.", "count"
        ),
    ),
    "archive": Action(
        read_state.archive,
        "unarchive",
        "archived_at",
        ngettext_lazy("Archived.", "%(count)d notifications: archived.", "count"),
    ),
    "unarchive": Action(
        lambda records, device, _: read_state.unarchive(records, device),
        "archive",
        "",
        ngettext_lazy(
            "Moved back to the inbox.",
            "%(count)d notifications: moved back to the inbox.",
            "count",
        ),
    ),
    "delete": Action(
        read_state.delete,
        "restore",
        "deleted_at",
        ngettext_lazy("Deleted.", "%(count)d notifications: deleted.", "count"),
    ),
    "restore": Action(
        lambda records, device, _: read_state.restore(records, device),
        "delete",
        "",
        ngettext_lazy("Restored.", "%(count)d notifications: restored.", "count"),
    ),
}
_ACTIONS["unsnooze"] = Action(
    lambda records, device, _: read_state.unsnooze(records, device),
    # The time is gone.
    "",
    "",
    _ACTIONS["unarchive"].confirmation,
)
# Above this an undo names the time of the change instead of its records.
MAX_NAMED: Final = MAX_BULK_ACTIONS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@member
@require_POST
def act(request: MemberRequest) -> HttpResponse:
    """``act`` is an action and what it is about: ``read:17``, ``read:17,18``,
    ``read:chosen`` (the fields ``chosen``), ``read:all`` (all pages of the view ``list``),
    ``read:upto-17`` (row 17 and what is older there), ``unread:at-1764409059000000``
    (what was read at that microsecond, to undo a large change)."""
    name, _, wanted = request.POST.get("act", "").partition(":")
    if name == "more":
        return _more(request, wanted)
    if name.startswith("snooze-"):
        return _snooze(request, name.removeprefix("snooze-"), wanted)
    action = _ACTIONS.get(name)
    if action is None:
        return HttpResponseBadRequest("There is no such action.")
    if len(request.POST.getlist("chosen")) > MAX_BULK_ACTIONS:
        return HttpResponseBadRequest(
            f"At most {MAX_BULK_ACTIONS} notifications can be chosen at once."
        )
    undone = _ACTIONS[action.undo].column if action.undo else "snoozed_until"
    column = action.column or undone
    records = _records(request, wanted, column if not action.column else "")
    if records is None:
        return HttpResponseBadRequest("There is no such selection of notifications.")
    if name != "restore":
        records = records.kept()
    newest = records.order_by("-published_at", "-pk").values_list("pk", flat=True)
    named = list(newest[: MAX_NAMED + 1])
    if not named and wanted not in {"chosen", "all"} and "-" not in wanted:
        raise Http404
    # Without those that are as wanted already: an undo must not change them.
    is_empty = {f"{column}__isnull": bool(action.column)}
    changed = list(newest.filter(**is_empty)[: MAX_NAMED + 1])
    undo = (
        f"{action.undo}:{','.join(map(str, changed))}"
        if changed and action.undo
        else ""
    )
    at = clock.now()
    if len(changed) > MAX_NAMED:
        undo = f"{action.undo}:at-{(at - _EPOCH) // timedelta(microseconds=1)}"
    count = action.service(records, request.device, at)
    user_id = request.user.pk
    html = fragments.rows_of_messages(user_id, named[: fragments.MAX_ROWS])
    text = action.confirmation % {"count": max(1, len(named))}
    if len(named) > MAX_NAMED:
        text = action.confirmation % {"count": count}
    return done(
        request,
        text if named else gettext("There was nothing to change."),
        html=html + fragments.unread_counts(user_id),
        undo=undo,
        default=reverse("dashboard:inbox"),
    )


def _more(request: MemberRequest, wanted: str) -> HttpResponse:
    """Without JavaScript "More" in a row leads to a page, with the list to return to."""
    pk = parse_pk(wanted)
    if pk is None:
        return HttpResponseBadRequest("There is no such notification.")
    there = reverse("dashboard:message-actions", args=[pk])
    return HttpResponseRedirect(f"{there}?{request.POST.get('list', '')}")


@member
@require_safe
def message_actions(request: MemberRequest, pk: int) -> HttpResponse:
    """The actions on one notification. Opening this page does not mark it as read."""
    record = or_404(pages.record_of(request.user.pk, pk))
    return page(
        request,
        "message_actions",
        section="inbox",
        record=record,
        icon=icon_of(record.subscription, record.icon),
        row_query=request.GET.urlencode(),
    )


def _snooze(request: MemberRequest, when: str, wanted: str) -> HttpResponse:
    until = pages.snooze_until(when)
    records = _records(request, wanted, "snoozed_until")
    if until is None or records is None:
        return HttpResponseBadRequest("There is no such time or notification.")
    records = records.kept().filter(archived_at=None).order_by("pk")
    pks = list(records.values_list("pk", flat=True))
    if not pks and wanted != "chosen":
        raise Http404
    read_state.snooze(records, request.device, until)
    html = fragments.rows_of_messages(request.user.pk, pks[-fragments.MAX_ROWS :])
    return done(
        request,
        gettext("Snoozed until %(time)s.")
        % {"time": format_time(timezone.localtime(until), "full")},
        html=html + fragments.unread_counts(request.user.pk),
        undo=f"unsnooze:{','.join(map(str, pks))}" if pks else "",
        default=reverse("dashboard:inbox"),
    )


def _records(
    request: MemberRequest, wanted: str, undone_column: str
) -> NotifyMessageRecordQuerySet | None:
    """The user's records that the second part of ``act`` names; None if it names none.

    Whole views can only be changed by actions whose time an undo can find.
    """
    user_id = request.user.pk
    own = NotifyMessageRecord.objects.filter(subscription__account__user_id=user_id)
    kind, _, number = wanted.partition("-")
    key = parse_pk(number)
    if wanted == "chosen":
        return own.filter(pk__in=_keys(request.POST.getlist("chosen")))
    if kind == "at" and key is not None and undone_column:
        # 17 digits are the year 5138; datetime ends in 9999.
        at = _EPOCH + timedelta(microseconds=min(key, 10**17))
        return own.filter(**{undone_column: at})
    if wanted == "all" or (kind == "upto" and key is not None):
        if undone_column:
            return None
        query = QueryDict(request.POST.get("list", ""))
        view = pages.InboxFilter.of(query, parse_pk(query.get("account", "")))
        return pages.matching(user_id, view, up_to=key)
    keys = _keys(wanted.split(","))
    return own.filter(pk__in=keys) if keys else None


def _keys(texts: list[str]) -> list[int]:
    keys = map(parse_pk, texts[:MAX_BULK_ACTIONS])
    return [key for key in keys if key is not None]


# --- saved filters ----------------------------------------------------------------------


@member
@require_POST
def filter_save(request: MemberRequest) -> HttpResponse:
    """Store the view ``list`` under ``name``."""
    query = QueryDict(request.POST.get("list", ""))
    account = Account.objects.of_user(request.user.pk).filter(
        pk=parse_pk(query.get("account", "")) or 0
    )
    wanted = pages.InboxFilter.of(query, None)
    chosen = account.first()
    if chosen is not None:
        wanted = replace(wanted, account_pk=chosen.pk)
    there = f"{reverse('dashboard:inbox')}?{wanted.query}"
    try:
        pages.save_filter(request.user.pk, request.POST.get("name", ""), wanted, chosen)
    except pages.FilterRefused as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(there)
    messages.success(request, gettext("The filter is saved."))
    return HttpResponseRedirect(there)


@member
@require_POST
def filter_remove(request: MemberRequest, pk: int) -> HttpResponse:
    count, _ = SavedFilter.objects.filter(user_id=request.user.pk, pk=pk).delete()
    if not count:
        raise Http404
    messages.success(request, gettext("The saved filter is removed."))
    default = reverse("dashboard:inbox")
    return HttpResponseRedirect(
        safe_next(request, request.POST.get("next", ""), default)
    )
