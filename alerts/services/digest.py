"""A regular mail about unread notifications, for people who ask for it and confirm.

A person has one address, which mails about their projects go to as well (``domain_mails``).

Needs ``EMAIL_URL``. Mails carry ``List-Unsubscribe`` with one-click (RFC 8058).
"""

from __future__ import annotations

import hashlib
import smtplib
from datetime import datetime, time, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.template.loader import render_to_string
from django.urls import reverse

from accounts.services import audit
from alerts.models import Digest
from alerts.services.preferences import (
    active_mutes,
    alert_settings,
    is_muted,
)
from common import bidi, clock, limits
from common.backoff import Backoff
from common.drain import drain
from common.wake import enqueue_on_commit
from common.work_queue import NO_WORK
from subscriptions.models import NotifyMessageRecord

if TYPE_CHECKING:
    from accounts.models import User

SEND_TASK: Final = "alerts.send_digests"
SALT: Final = "alerts.digest"
CONFIRM_WITHIN: Final = timedelta(days=2)
BACKOFF: Final = Backoff(first_s=300, max_s=3_600, max_attempts=5)
MAX_NOTIFICATIONS: Final = 100
MONDAY: Final = 0


class DigestError(ValueError):
    """The digest cannot be set up; the text is for the person who asked."""


def is_available() -> bool:
    """Whether this server can send mail."""
    return bool(settings.EMAIL_HOST) and "smtp" in settings.EMAIL_BACKEND


# --- settings ---------------------------------------------------------------------------


def save_digest(
    user: User, *, email: str, frequency: str, hour: int, client: str = ""
) -> Digest:
    """Store what was asked for. A new address gets a mail with a link to confirm it.

    ``client`` is the rate key of who asks.
    """
    if not is_available():
        raise DigestError(
            "this server sends no mail: its operator has to set EMAIL_URL"
        )
    if frequency not in Digest.Frequency:
        raise DigestError("choose how often the digest is sent")
    if not 0 <= hour <= 23:
        raise DigestError("the hour is 0 to 23")
    email = email.strip()
    try:
        validate_email(email)
    except ValidationError:
        raise DigestError("that is not a mail address") from None
    now = clock.now()
    kept = Digest.objects.filter(user=user).first()
    is_confirmed = kept is not None and kept.email == email and kept.confirmed_at
    if not is_confirmed:
        _limit_confirmations(user, email, client)
    had_digest = kept is not None and kept.frequency != Digest.Frequency.NEVER
    zone = alert_settings(user).time_zone
    row, _ = Digest.objects.update_or_create(
        user=user,
        defaults=NO_WORK
        | {
            "email": email,
            "frequency": frequency,
            "hour": hour,
            "attempts": 0,
            "reason": "",
            "covered_until": kept.covered_until if kept and had_digest else now,
            "confirmed_at": kept.confirmed_at if kept and is_confirmed else None,
            # Unconfirmed, the row is due at once: its first mail asks to confirm.
            "next_attempt_at": next_digest(frequency, hour, zone, now)
            if is_confirmed
            else now,
        },
    )
    enqueue_on_commit(SEND_TASK)
    audit("digest.set", actor=user, detail=frequency)
    return row


def save_address(user: User, *, email: str, client: str = "") -> Digest:
    """Store the address for mails about projects. A digest there is goes on, to it."""
    kept = Digest.objects.filter(user=user).first()
    return save_digest(
        user,
        email=email,
        frequency=kept.frequency if kept else Digest.Frequency.NEVER,
        hour=kept.hour if kept else 8,
        client=client,
    )


def _limit_confirmations(user: User, email: str, client: str) -> None:
    """Anyone can enter a stranger's address, so that mailbox gets a few mails at most.

    Subaddresses and dots count as the same mailbox. Redis gets a digest of it only.
    """
    name, _, host = email.lower().rpartition("@")
    mailbox = f"{name.partition('+')[0].replace('.', '')}@{host}"
    verdicts = [limits.consume("digest_confirmation_user", str(user.pk))]
    if client:
        verdicts.append(limits.consume("digest_confirmation_client", client))
    # Refused requests must not use up what the owner of the mailbox may ask for.
    if all(verdict.allowed for verdict in verdicts):
        digest = hashlib.sha256(mailbox.encode()).hexdigest()
        verdicts.append(limits.consume("digest_confirmation_mailbox", digest))
    if not all(verdict.allowed for verdict in verdicts):
        raise DigestError(
            "too many mails to confirm an address were asked for; try tomorrow"
        )


def confirmable(token: str) -> Digest | None:
    """The digest that the link of a mail would start; None if the link is over."""
    value = _read_token(token, "confirm", max_age=CONFIRM_WITHIN)
    if value is None:
        return None
    return Digest.objects.select_related("user").filter(**value).first()


def confirm(token: str) -> Digest | None:
    """Start the digest that the link of a mail belongs to; None if the link is over."""
    row = confirmable(token)
    if row is not None and row.confirmed_at is None:
        now = clock.now()
        row.confirmed_at = row.covered_until = now
        zone = alert_settings(row.user).time_zone
        row.next_attempt_at = next_digest(row.frequency, row.hour, zone, now)
        row.attempts = 0
        row.save()
    return row


def is_stop_link(token: str) -> bool:
    return _read_token(token, "stop", max_age=None) is not None


def stop(token: str) -> bool:
    """End the digest that the link of a mail belongs to; False if it is no such link."""
    value = _read_token(token, "stop", max_age=None)
    if value is None:
        return False
    for row in Digest.objects.select_related("user").filter(**value):
        remove_digest(row.user)
    return True


def remove_digest(user: User) -> bool:
    count, _ = Digest.objects.filter(user=user).delete()
    if count:
        audit("digest.removed", actor=user)
    return bool(count)


def _token(row: Digest, purpose: str) -> str:
    return signing.dumps([purpose, row.user_id, row.email], salt=SALT)


def _read_token(
    token: str, purpose: str, *, max_age: timedelta | None
) -> dict[str, object] | None:
    """What finds the digest of a link; None if the link is not ours or too old."""
    try:
        value = signing.loads(token, salt=SALT, max_age=max_age)
    except signing.BadSignature:
        return None
    if not isinstance(value, list) or len(value) != 3 or value[0] != purpose:
        return None
    return {"user_id": value[1], "email": value[2]}


def next_digest(
    frequency: str, hour: int, zone: str, after: datetime
) -> datetime | None:
    """The next local ``hour`` after ``after``, on a Monday if weekly; None for never."""
    if frequency == Digest.Frequency.NEVER:
        return None
    local = after.astimezone(ZoneInfo(zone))
    day = local.date()
    while True:
        at = datetime.combine(day, time(hour), tzinfo=ZoneInfo(zone))
        is_day = frequency == Digest.Frequency.DAILY or day.weekday() == MONDAY
        if is_day and at > local:
            return at.astimezone(after.tzinfo)
        day += timedelta(days=1)


# --- sending ----------------------------------------------------------------------------


def send_due_digests() -> int:
    """Send mails that are due; how many rows were taken."""
    return drain(_claim, _send, _record, slots=settings.LIMITS.digests)


def _claim(limit: int) -> list[tuple[Digest, EmailMessage | None, datetime]]:
    now = clock.now()
    claimed = Digest.objects.select_related("user").claim(
        limit, owner="user_id", max_in_flight=settings.LIMITS.digests
    )
    return [
        (row, _digest(row, now) if row.confirmed_at else _confirmation(row), now)
        for row in claimed
    ]


def _confirmation(row: Digest) -> EmailMessage:
    link = settings.PUBLIC_URL + reverse(
        "dashboard:digest-confirm", args=[_token(row, "confirm")]
    )
    is_digest = row.frequency != Digest.Frequency.NEVER
    text = render_to_string(
        "alerts/confirm.txt", {"link": link, "row": row, "is_digest": is_digest}
    )
    what = "notification digest" if is_digest else "mail address"
    return EmailMessage(f"Confirm your {what}", text, to=[row.email])


def _digest(row: Digest, now: datetime) -> EmailMessage | None:
    """The mail for what arrived since the last one and is unread; None for nothing."""
    records = list(
        NotifyMessageRecord.objects.unread()
        .filter(
            subscription__account__user_id=row.user_id,
            subscription__deleted_at=None,
            received_at__gt=row.covered_until,
            received_at__lte=now,
        )
        .select_related("subscription__account")
        .order_by("subscription__dapp_url", "-published_at")[: MAX_NOTIFICATIONS + 1]
    )
    mutes = active_mutes(each.subscription.account_id for each in records)
    wanted = [
        each
        for each in records
        if not is_muted(
            mutes,
            each.subscription.account_id,
            each.subscription.dapp_url,
            each.type,
        )
    ]
    if not wanted:
        return None
    groups = [
        (str(rows[0].subscription), rows)
        for rows in (
            list(group)
            for _, group in groupby(
                wanted[:MAX_NOTIFICATIONS], key=lambda each: each.subscription.dapp_url
            )
        )
    ]
    stop_link = settings.PUBLIC_URL + reverse(
        "dashboard:digest-stop", args=[_token(row, "stop")]
    )
    text = render_to_string(
        "alerts/digest.txt",
        {
            "groups": groups,
            "has_more": len(wanted) > MAX_NOTIFICATIONS,
            "inbox": f"{settings.PUBLIC_URL}/inbox",
            "stop": stop_link,
        },
    )
    count = min(len(wanted), MAX_NOTIFICATIONS)
    plural = "" if count == 1 else "s"
    return EmailMessage(
        f"{count} unread notification{plural}",
        bidi.neutralize(text),
        to=[row.email],
        headers={
            "List-Unsubscribe": f"<{stop_link}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "Auto-Submitted": "auto-generated",
        },
    )


def _send(
    work: tuple[Digest, EmailMessage | None, datetime],
) -> tuple[Digest, datetime, str]:
    row, mail, now = work
    if mail is None:
        return row, now, ""
    try:
        mail.send()
    except (OSError, smtplib.SMTPException) as error:
        return row, now, str(error) or type(error).__name__
    return row, now, ""


def _record(outcomes: list[tuple[Digest, datetime, str]]) -> None:
    for row, now, problem in outcomes:
        if problem and not BACKOFF.is_over(row.attempts):
            row.retry_later(BACKOFF, problem)
        elif row.confirmed_at is None:
            # The link in the mail goes on from here.
            row.finish(reason=problem[:200])
        else:
            zone = alert_settings(row.user).time_zone
            due = next_digest(row.frequency, row.hour, zone, clock.now())
            if due is None:
                row.finish()
            else:
                row.put_off(due, problem, attempts=0, covered_until=now)
