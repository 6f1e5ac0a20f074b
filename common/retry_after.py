"""``Retry-After`` of an HTTP response (RFC 9110, section 10.2.3)."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from common import clock

if TYPE_CHECKING:
    from common.outbound import Response

MAX_RETRY_AFTER: Final = timedelta(hours=24)


def retry_after(response: Response) -> datetime | None:
    """When an unsuccessful response allows the next attempt, at most a day from now.

    None if the header is absent or malformed.
    """
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
