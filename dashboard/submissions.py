"""Idempotent forms: a submission that creates something takes effect once.

A form carries a token in the field ``once``. The same token with the same content is a
repetition (double click, the form open in two tabs, a reload): it redirects to the first
result. The same token with other content is a new submission. The token changes with each
submission of the device, so that tabs opened before share one and later forms get another.

A secret that is shown once is passed from the POST to the result page in a sealed column.
A reload within ten minutes shows it again: users who lose a secret to a reload create
another and leave the first one active.
"""

from __future__ import annotations

import contextlib
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
    """What a form created: the URL of its page, and a secret to show there once."""

    location: str
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A submission as its result page shows it."""

    submission: FormSubmission
    secret: str

    @property
    def is_past(self) -> bool:
        """There was a secret, and its ten minutes are over."""
        return not self.secret and self.submission.secret_until is not None


def form_token(device: Device, form: str) -> str:
    """The token to render into the form."""
    sent = FormSubmission.objects.filter(device=device, form=form)
    newest = sent.order_by("-created_at", "-pk").values_list("pk", flat=True).first()
    return _FIRST if newest is None else str(newest)


def submit_once(
    request: MemberRequest, form: str, create: Callable[[], Created]
) -> FormSubmission:
    """Run ``create`` unless this submission was carried out before.

    One transaction: if ``create`` raises, nothing is stored and the form can be submitted
    again. A concurrent repetition waits on the unique index for the first one.
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
    # Scripts send forms without a token; those are never repetitions.
    token = request.POST.get(TOKEN_FIELD) or entropy.token_hex(16)
    content = sorted(
        (name, values)
        for name, values in request.POST.lists()
        if name not in _NOT_CONTENT
    )
    text = json.dumps([form, token, content])
    return hashlib.sha256(text.encode()).hexdigest()


def result_of(request: MemberRequest, form: str = "") -> Result | None:
    """The submission named by ``?made=``, if this device submitted it."""
    found = find(request, request.GET.get("made", ""))
    if found is None or (form and found.form != form):
        return None
    secret = ""
    if found.holds_secret(clock.now()):
        # After a key rotation the old secret may be unreadable; the page does without it.
        with contextlib.suppress(DecryptionFailed):
            secret = open_sealed(found.context, found.sealed_secret).decode()
    return Result(found, secret)


def find(request: MemberRequest, text: str) -> FormSubmission | None:
    try:
        key = UUID(text)
    except ValueError:
        return None
    return FormSubmission.objects.filter(device=request.device, pk=key).first()


def forget_secret(row: FormSubmission) -> None:
    """Delete the secret early: the user has confirmed to have stored it."""
    FormSubmission.objects.filter(pk=row.pk).update(sealed_secret=b"")


def prune_submissions() -> int:
    """Clear expired secrets and delete submissions older than ``KEEP_SUBMISSIONS``."""
    now = clock.now()
    past = FormSubmission.objects.filter(secret_until__lte=now)
    cleared = past.exclude(sealed_secret=b"").update(sealed_secret=b"")
    old = FormSubmission.objects.filter(created_at__lte=now - KEEP_SUBMISSIONS)
    dropped, _ = old.delete()
    return cleared + dropped
