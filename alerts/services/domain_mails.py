"""A mail to a project's owner when the domain no longer serves what the project publishes.

It goes to the address that the owner has confirmed, for this or the digest. Short differences, as
while a site is deployed, cause none. Needs ``EMAIL_URL``.
"""

from __future__ import annotations

import smtplib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import F, Q
from django.template.loader import render_to_string
from django.urls import reverse

from alerts.models import Digest
from alerts.services.digest import is_available
from castserver.models import AddressCheck
from common import bidi, clock

if TYPE_CHECKING:
    from castserver.models import Project

__all__ = ["is_available", "owner_address", "send_domain_mails"]

SEND_TASK: Final = "alerts.send_domain_mails"
# Longer than the pause between two checks of a domain that differs.
DIFFERS_FOR: Final = timedelta(minutes=15)
BATCH_SIZE: Final = 50


def owner_address(project: Project) -> Digest | None:
    """Where mails about the project go, once it is confirmed."""
    if project.owner_id is None:
        return None
    return Digest.objects.filter(user_id=project.owner_id).first()


def send_domain_mails() -> int:
    """Mail the owners of domains that differ, once each time; returns how many mails."""
    if not is_available():
        return 0
    due = AddressCheck.objects.filter(
        Q(mailed_for=None) | ~Q(mailed_for=F("differs_since")),
        differs_since__lte=clock.now() - DIFFERS_FOR,
        # It was read again since, so the difference has lasted.
        read_at__gt=F("differs_since"),
    ).select_related("project")
    count = 0
    for check in due.order_by("differs_since")[:BATCH_SIZE]:
        address = owner_address(check.project)
        if address is None or address.confirmed_at is None:
            continue
        # Claimed before the mail is sent: of two workers, one sends it.
        claimed = AddressCheck.objects.filter(pk=check.pk, mailed_for=check.mailed_for)
        if not claimed.update(mailed_for=check.differs_since):
            continue
        try:
            _message(check, address.email).send()
            count += 1
        except (OSError, smtplib.SMTPException):
            # The next run tries again.
            AddressCheck.objects.filter(pk=check.pk).update(mailed_for=check.mailed_for)
    return count


def _message(check: AddressCheck, email: str) -> EmailMessage:
    project = check.project
    path = reverse("dashboard:project-domain", args=[project.slug])
    text = render_to_string(
        "alerts/domain.txt",
        {
            "name": project.name,
            "check": check,
            "failed": [each for each in check.lines if each["state"] == "failed"],
            "url": f"{settings.PUBLIC_URL}{path}",
            "settings": f"{settings.PUBLIC_URL}{reverse('dashboard:settings')}#alerts",
        },
    )
    name = " ".join(bidi.neutralize(project.name).split())
    return EmailMessage(
        f"The files of {name} do not match any more",
        bidi.neutralize(text),
        to=[email],
        headers={"Auto-Submitted": "auto-generated"},
    )
