"""Forms that create something: each submission takes effect once, and ends in a redirect.

A form carries a token in the field ``once``. The same token with the same content is a
repetition (double click, the same form open in two tabs, a reload): it creates nothing and
leads to the first result. The same token with other content is another wish and is carried
out. The token of a form changes with each submission from the device, so that tabs that
were opened before share one and forms that are opened afterwards get another.

A secret that is shown once travels from the POST to the page behind the redirect in a
sealed column that opens for one device, for ten minutes. Within that time a reload shows
it again: a page that lost its secret to a reload would only make people create another.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.db import IntegrityError, transaction

from common import clock, entropy
from dashboard.models import FormSubmission
from keychain.services import DecryptionFailed, open_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from accounts.models import Device
    from dashboard.access import MemberRequest

TOKEN_FIELD: Final = "once"  # noqa: S105  (the name of a form field)
SECRET_SHOWN_FOR: Final = timedelta(minutes=10)
KEEP_SUBMISSIONS: Final = timedelta(days=1)
_NOT_CONTENT: Final = frozenset({TOKEN_FIELD, "csrfmiddlewaretoken", "next"})
_FIRST: Final = "first"


@dataclass(frozen=True, slots=True)
class Created:
    """What a form created: the page that shows it, and the secret it shows once."""

    location: str
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What the page behind the redirect shows of a submission."""

    submission: FormSubmission
    secret: str

    @property
    def is_past(self) -> bool:
        """There was a secret, and it is not shown any more."""
        return not self.secret and self.submission.secret_until is not None


def form_token(device: Device, form: str) -> str:
    """The token for a form that is about to be shown."""
    sent = FormSubmission.objects.filter(device=device, form=form)
    newest = sent.order_by("-created_at", "-pk").values_list("pk", flat=True).first()
    return _FIRST if newest is None else str(newest)


def submit_once(
    request: MemberRequest, form: str, create: Callable[[], Created]
) -> FormSubmission:
    """Run ``create`` unless this submission has been carried out already.

    Everything is one transaction: if ``create`` raises, nothing is kept and the form can
    be sent again. A concurrent repetition waits at the unique index for the first one.
    """
    row = FormSubmission(
        device=request.device,
        form=form,
        key=submission_key(request, form),
        created_at=clock.now(),
    )
    with transaction.atomic():
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            return FormSubmission.objects.get(device=request.device, key=row.key)
        created = create()
        row.location = f"{created.location}?made={row.pk}"
        if created.secret:
            row.sealed_secret = seal(row.context, created.secret.encode())
            row.secret_until = row.created_at + SECRET_SHOWN_FOR
        row.save(update_fields=["location", "sealed_secret", "secret_until"])
    return row


def submission_key(request: MemberRequest, form: str) -> str:
    # A form without a token, as scripts send it, is never a repetition.
    token = request.POST.get(TOKEN_FIELD) or entropy.token_hex(16)
    content = sorted(
        (name, values)
        for name, values in request.POST.lists()
        if name not in _NOT_CONTENT
    )
    text = json.dumps([form, token, content])
    return hashlib.sha256(text.encode()).hexdigest()


def result_of(request: MemberRequest, form: str = "") -> Result | None:
    """The submission that ``?made=`` names, if this device sent it."""
    found = find(request, request.GET.get("made", ""))
    if found is None or (form and found.form != form):
        return None
    return Result(found, _secret_of(found))


def find(request: MemberRequest, text: str) -> FormSubmission | None:
    try:
        key = UUID(text)
    except ValueError:
        return None
    return FormSubmission.objects.filter(device=request.device, pk=key).first()


def _secret_of(row: FormSubmission) -> str:
    if not row.holds_secret(clock.now()):
        return ""
    try:
        return open_sealed(row.context, row.sealed_secret).decode()
    except DecryptionFailed:
        return ""


def forget_secret(row: FormSubmission) -> None:
    """The person has stored the secret: it is not needed for the rest of its time."""
    FormSubmission.objects.filter(pk=row.pk).update(sealed_secret=b"")


def prune_submissions() -> int:
    """Clear secrets past their time, drop submissions that nobody will repeat."""
    now = clock.now()
    past = FormSubmission.objects.filter(secret_until__lte=now)
    cleared = past.exclude(sealed_secret=b"").update(sealed_secret=b"")
    old = FormSubmission.objects.filter(created_at__lte=now - KEEP_SUBMISSIONS)
    dropped, _ = old.delete()
    return cleared + dropped
