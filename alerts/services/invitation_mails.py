"""The mail with the link of an invitation to a project. Needs ``EMAIL_URL``.

It is sent in the request of the person who invites: of the link only a digest is stored, so
no worker could build it. That person sees the link in any case.
"""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils.translation import gettext

from alerts.services.digest import DigestError, is_available, limit_mails
from common import bidi

if TYPE_CHECKING:
    from accounts.models import User
    from castserver.models import Project, Role

__all__ = ["NotSent", "is_available", "send_invitation"]


class NotSent(Exception):
    """The mail was not sent; the text is for the person who invites."""


def send_invitation(
    project: Project, *, by: User, email: str, role: Role, link: str, client: str
) -> None:
    if not is_available():
        raise NotSent(
            gettext("This server sends no mail. Copy the link and send it yourself.")
        )
    try:
        limit_mails(by, email, client)
    except DigestError:
        raise NotSent(
            gettext(
                "Too many mails were asked for, so none was sent. Copy the link and send "
                "it yourself."
            )
        ) from None
    # Texts of a person reach a stranger's mailbox: on one line, and without overrides.
    name = " ".join(bidi.neutralize(project.name).split())
    text = render_to_string(
        "alerts/invitation.txt",
        {"name": name, "url": project.url, "role": role.value, "link": link},
    )
    message = EmailMessage(
        f"You are invited to {name}",
        bidi.neutralize(text),
        to=[email],
        headers={"Auto-Submitted": "auto-generated"},
    )
    try:
        message.send()
    except (OSError, smtplib.SMTPException):
        raise NotSent(
            gettext("The mail could not be sent. Copy the link and send it yourself.")
        ) from None
