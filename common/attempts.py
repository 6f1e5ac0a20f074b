"""One attempt to deliver something to a receiver that a user named, timed.

Webhooks, pushes and forwards are sent by it. ``Retry-After`` is RFC 9110, section 10.2.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from django.conf import settings

from common import clock, histograms, outbound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_RETRY_AFTER: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Attempt:
    """``status`` is None if there was no HTTP answer; ``error`` then gives the reason."""

    status: int | None = None
    error: str = ""
    body: bytes = b""
    # When an unsuccessful answer allows the next attempt, at most a day from now.
    not_before: datetime | None = None
    # How long it took; None if nothing was sent.
    seconds: float | None = None

    @property
    def is_accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def post(
    url: str,
    *,
    headers: Mapping[str, str],
    json: object = None,
    content: bytes | None = None,
) -> Attempt:
    """POST within the deadline of a webhook; never raises for what the receiver does."""
    began = clock.monotonic()
    try:
        answer = outbound.fetch(
            "POST",
            url,
            json=json,
            content=content,
            headers=headers,
            max_bytes=settings.LIMITS.webhook_read_bytes,
            deadline=settings.LIMITS.webhook_deadline_s,
            truncate=True,
        )
    except outbound.OutboundError as error:
        return Attempt(error=str(error), seconds=clock.monotonic() - began)
    return Attempt(
        status=answer.status,
        body=answer.body,
        not_before=_retry_after(answer),
        seconds=clock.monotonic() - began,
    )


def observe_attempts(channel: str, attempts: Iterable[Attempt]) -> None:
    """Add the durations to ``/metrics`` once this transaction is committed."""
    durations = [each.seconds for each in attempts if each.seconds is not None]
    histograms.observe("attempt", {channel: durations})


def _retry_after(response: outbound.Response) -> datetime | None:
    text = response.headers.get("retry-after", "").strip()
    if not text or response.ok:
        return None
    now = clock.now()
    if text.isdecimal() and len(text) < 10:
        at = now + timedelta(seconds=int(text))
    else:
        try:
            at = parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
        if at.tzinfo is None:
            return None
    return max(now, min(at, now + MAX_RETRY_AFTER))
