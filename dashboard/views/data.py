"""``/settings/data``: an account leaves as a file, and comes back from one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from django.conf import settings
from django.contrib import messages
from django.http import (
    Http404,
    HttpResponse,
)
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts.services import is_fresh
from common import clock
from dashboard.access import member, or_404, require_recent_signature
from dashboard.frame import accounts_of, page
from dashboard.reasons import translate_reason
from dashboard.views.responses import done, download
from keychain.passphrase import MAX_LENGTH, MIN_LENGTH, WeakPassphrase
from portability.schemas import ExportFileError, own_relay
from portability.services import export as exporting
from portability.services import uploads
from portability.services.importing import KINDS, ImportReport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO
    from uuid import UUID

    from accounts.models import Account
    from dashboard.access import MemberRequest

SECTION = "settings"
LABELS: Final = {
    "settings": _("Name and quiet hours"),
    "mutes": _("Mutes"),
    "keys": _("Shared store"),
    "subscriptions": _("Subscriptions"),
    "notifications": _("Notifications"),
}
EXPORTING = _("Exporting an account")
IMPORTING = _("Importing an account")


@member
@require_safe
def data(request: MemberRequest) -> HttpResponse:
    return page(
        request,
        "data",
        section=SECTION,
        is_fresh=is_fresh(request.device),
        min_passphrase=MIN_LENGTH,
        max_passphrase=MAX_LENGTH,
        max_bytes=settings.LIMITS.import_bytes,
    )


# --- export -----------------------------------------------------------------------------


@member
@require_POST
@require_recent_signature(EXPORTING, back="data")
def export(request: MemberRequest) -> HttpResponse:
    account = _owned(request, request.POST.get("account", ""))
    passphrase = request.POST.get("passphrase", "")
    if passphrase != request.POST.get("again", ""):
        return _back(request, gettext("The two passphrases differ."))
    try:
        chunks = exporting.export_account(
            account, passphrase=passphrase, device=request.device
        )
    except WeakPassphrase:
        return _back(
            request,
            gettext("A passphrase has %(least)d to %(most)d characters.")
            % {"least": MIN_LENGTH, "most": MAX_LENGTH},
        )
    return _download(request, chunks, account, "jsonl", "application/jsonl")


@member
@require_safe
@require_recent_signature(EXPORTING, back="data")
def export_csv(request: MemberRequest) -> HttpResponse:
    account = _owned(request, request.GET.get("account", ""))
    chunks = exporting.export_csv(account)
    return _download(request, chunks, account, "csv", "text/csv; charset=utf-8")


def _download(
    request: MemberRequest,
    chunks: Iterator[bytes],
    account: Account,
    extension: str,
    content_type: str,
) -> HttpResponse:
    name = f"notifyweb-{account.chain_address}-{clock.now():%Y-%m-%d}.{extension}"
    return download(request, chunks, name=name, content_type=content_type)


# --- import -----------------------------------------------------------------------------


@member
@require_POST
@require_recent_signature(IMPORTING, back="data")
def upload(request: MemberRequest) -> HttpResponse:
    """Check the file and show what importing it would change."""
    file = request.FILES.get("file")
    if file is None:
        return _back(request, gettext("Choose a file first."))
    most = settings.LIMITS.import_bytes
    if (file.size or 0) > most:
        return _back(
            request,
            gettext("The file is too large: at most %(most)d bytes.") % {"most": most},
        )
    try:
        prepared = uploads.prepare_import(
            request.device,
            cast("BinaryIO", file.file),
            request.POST.get("passphrase", ""),
        )
    except ExportFileError as error:
        return _back(
            request,
            gettext("Nothing was imported. %(problem)s")
            % {"problem": translate_reason(error)},
        )
    return redirect("dashboard:data-preview", prepared.pk)


@member
@require_http_methods(["GET", "HEAD", "POST"])
def preview(request: MemberRequest, import_id: UUID) -> HttpResponse:
    """What the uploaded file changes; a POST imports or discards it."""
    prepared = or_404(uploads.find_prepared(request.device, import_id))
    report = ImportReport.from_value(prepared.preview)
    if request.method != "POST":
        return page(
            request,
            "data_import",
            section=SECTION,
            report=report,
            ours=own_relay(),
            rows=[(LABELS[kind], report.counts[kind]) for kind in KINDS],
            account=prepared.account,
            refused=[(line, translate_reason(why)) for line, why in report.refused],
            hidden_refusals=report.refused_count - len(report.refused),
        )
    if request.POST.get("act") != "import":
        uploads.discard_import(request.device, import_id)
        return done(
            request,
            gettext("Nothing was imported."),
            default=reverse("dashboard:data"),
        )
    try:
        report = uploads.confirm_import(request.device, import_id)
    except uploads.ImportGone:
        raise Http404 from None
    except ExportFileError as error:
        return _back(
            request,
            gettext("Nothing was imported. %(problem)s")
            % {"problem": translate_reason(error)},
        )
    count = report.changes
    return done(
        request,
        ngettext("One thing was imported.", "%(count)d things were imported.", count)
        % {"count": count},
        default=reverse("dashboard:data"),
    )


def _owned(request: MemberRequest, text: str) -> Account:
    """The user's account of this primary key, or the first one."""
    accounts = accounts_of(request.user.pk)
    found = [each for each in accounts if not text or str(each.pk) == text]
    if not found:
        raise Http404
    return found[0]


def _back(request: MemberRequest, problem: str) -> HttpResponse:
    messages.error(request, problem)
    return redirect("dashboard:data")
