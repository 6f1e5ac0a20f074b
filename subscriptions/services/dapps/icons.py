"""Icons of dapps and notifications: fetched and re-encoded by us, never by a browser.

A browser that loads an icon from a dapp reveals its address, and when it is in use. So a
worker fetches it through the guarded client, and decodes and draws it anew: nothing of the
file that a stranger made reaches a browser. A picture that is not usable costs its
notification the letter tile, and a dapp that names many pushes out its own.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from PIL import Image, ImageOps, PngImagePlugin

from common import clock, entropy, outbound
from common.backoff import Backoff
from common.drain import drain
from common.wake import enqueue_on_commit
from common.work_queue import fresh_work
from subscriptions.models import REASON_LENGTH, URL_LENGTH, Icon

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet

logger = logging.getLogger(__name__)

FETCH_TASK: Final = "subscriptions.fetch_icons"
# The tile has 36 to 48 CSS pixels.
SIDE: Final = 96
FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP")
ACCEPT: Final = "image/webp, image/png, image/jpeg, image/gif"
# 4 million pixels are 16 MB decoded, for at most a few at a time.
MAX_PIXELS: Final = 4_000_000
MAX_TEXT_BYTES: Final = 64 * 1024
GOOD_FOR: Final = timedelta(days=7)
BAD_FOR: Final = timedelta(days=1)
KEPT_FOR: Final = timedelta(days=60)
# Rows are marked as wanted so often, not with every notification.
MARK_AFTER: Final = timedelta(days=1)
BACKOFF: Final = Backoff(steps_s=(30, 300, 3_600))
PASSING_STATUSES: Final = frozenset({408, 425, 429})

# Pillow raises an error above twice this number, before it decodes anything.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
# Compressed texts and colour profiles of a PNG unfold up to this.
PngImagePlugin.MAX_TEXT_CHUNK = MAX_TEXT_BYTES
PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES


class NotAPicture(ValueError):
    """What was fetched is not a picture that we show."""


# --- wanting --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WantedIcon:
    url: str
    dapp_url: str
    # None for what a dapp's document names.
    account_id: int | None


def want_icons(wanted: Iterable[WantedIcon]) -> None:
    """Queue the icons that are unknown or have expired; in the caller's transaction."""
    by_url = {each.url: each for each in wanted if _is_fetchable(each.url)}
    if not by_url:
        return
    now = clock.now()
    known = Icon.objects.filter(url__in=by_url)
    urls = set(known.values_list("url", flat=True))
    known.filter(wanted_at__lt=now - MARK_AFTER).update(wanted_at=now)
    # Those that are being fetched have no time of expiry, or a passed one and work.
    expired = known.filter(next_attempt_at=None, expires_at__lte=now)
    count = expired.update(**fresh_work())
    new = [each for url, each in by_url.items() if url not in urls]
    room = settings.LIMITS.icons_in_all - Icon.objects.count() if new else 0
    new = new[: max(0, room)]
    Icon.objects.bulk_create(
        [
            Icon(
                url=each.url,
                account_id=each.account_id,
                dapp_url=each.dapp_url[:2048],
                wanted_at=now,
                next_attempt_at=now,
            )
            for each in new
        ],
        ignore_conflicts=True,
    )
    _push_out(new)
    if new or count:
        enqueue_on_commit(FETCH_TASK)


def _is_fetchable(url: str) -> bool:
    if not url or len(url) > URL_LENGTH:
        return False
    try:
        outbound.check_url(url)
    except outbound.OutboundRefused:
        return False
    return True


def _push_out(new: Sequence[WantedIcon]) -> None:
    """Drop the oldest icons that a dapp has named to an account above its number, and
    the oldest of an account above its own."""
    limits = settings.LIMITS
    accounts: dict[int, set[str]] = defaultdict(set)
    for each in new:
        if each.account_id is not None:
            accounts[each.account_id].add(each.dapp_url)
    for account_id, dapps in accounts.items():
        own = Icon.objects.filter(account_id=account_id)
        for dapp_url in dapps:
            _keep_newest(own.filter(dapp_url=dapp_url), limits.icons_per_dapp)
        _keep_newest(own, limits.icons_per_account)


def _keep_newest(rows: QuerySet[Icon], number: int) -> None:
    kept = rows.order_by("-wanted_at", "-pk")
    surplus = list(kept.values_list("pk", flat=True)[number : number + 1_000])
    if surplus:
        Icon.objects.filter(pk__in=surplus).delete()


# --- fetching -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetched:
    """A picture, or the reason why there is none and whether another attempt may help."""

    icon: Icon
    picture: bytes = b""
    reason: str = ""
    may_pass: bool = False


def fetch_icons() -> int:
    """Fetch what is due until nothing is left or time is over; how many were taken."""
    return drain(_claim, _fetch, _record, slots=settings.LIMITS.icon_fetches)


def _claim(limit: int) -> list[Icon]:
    limits = settings.LIMITS
    return (
        Icon.objects.as_queue()
        .defer("picture")
        .claim(
            limit,
            owner="owner",
            max_in_flight=limits.icon_fetches,
            caps={
                "owner": limits.icon_fetches_per_account,
                "host": limits.icon_fetches_per_host,
            },
        )
    )


def _fetch(icon: Icon) -> Fetched:
    """Runs in a thread, so it must not use the database."""
    limits = settings.LIMITS
    try:
        answer = outbound.fetch(
            "GET",
            icon.url,
            headers={"accept": ACCEPT},
            max_bytes=limits.icon_bytes,
            deadline=limits.icon_deadline_s,
        )
    except outbound.OutboundError as error:
        may_pass = isinstance(error, outbound.OutboundFailed)
        return Fetched(icon, reason=str(error), may_pass=may_pass)
    if answer.status != 200:
        may_pass = answer.status >= 500 or answer.status in PASSING_STATUSES
        reason = f"the answer is {answer.status}"
        return Fetched(icon, reason=reason, may_pass=may_pass)
    try:
        return Fetched(icon, redraw(answer.body))
    except NotAPicture as error:
        return Fetched(icon, reason=str(error))
    except Exception:
        # A fault of ours or of the library: it must not end the other fetches.
        logger.exception("an icon could not be drawn", extra={"url": icon.url})
        return Fetched(icon, reason="the picture could not be drawn")


def redraw(content: bytes) -> bytes:
    """The picture as a square of ``SIDE`` pixels in WebP, without metadata.

    Raises ``NotAPicture``. Its format is found in the content, whatever its type was
    said to be; of an animation the first frame is shown. SVG is not read: it is a
    program, not pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as source:
            if source.width * source.height > MAX_PIXELS:
                raise NotAPicture(f"the picture has more than {MAX_PIXELS} pixels")
            # Decodes a large JPEG at a fraction of its size.
            source.draft("RGB", (2 * SIDE, 2 * SIDE))
            source.load()
            turned = ImageOps.exif_transpose(source)
            drawn = ImageOps.contain(turned.convert("RGBA"), (SIDE, SIDE))
    except NotAPicture:
        raise
    except Image.DecompressionBombError:
        raise NotAPicture(f"the picture has more than {MAX_PIXELS} pixels") from None
    except Exception as error:
        # Pillow raises what its decoders come upon: OSError, SyntaxError, struct.error …
        raise NotAPicture(
            f"this is not a PNG, JPEG, GIF or WebP picture ({type(error).__name__})"
        ) from None
    square = Image.new("RGBA", (SIDE, SIDE))
    square.paste(drawn, ((SIDE - drawn.width) // 2, (SIDE - drawn.height) // 2))
    found = io.BytesIO()
    square.save(found, "WEBP", quality=80)
    return found.getvalue()


def _record(results: list[Fetched]) -> None:
    now = clock.now()
    with transaction.atomic():
        for each in results:
            if each.picture:
                each.icon.finish(
                    picture=each.picture,
                    digest=hashlib.sha256(each.picture).hexdigest()[:32],
                    problem="",
                    expires_at=now + _jittered(GOOD_FOR),
                )
            elif not each.may_pass:
                each.icon.finish(
                    picture=b"",
                    digest="",
                    problem=each.reason[:REASON_LENGTH],
                    expires_at=now + _jittered(GOOD_FOR),
                )
            elif BACKOFF.is_over(each.icon.attempts):
                # A picture of before stays: the address may be reachable again.
                each.icon.finish(
                    problem=each.reason[:REASON_LENGTH],
                    expires_at=now + _jittered(BAD_FOR),
                )
            else:
                each.icon.retry_later(BACKOFF, each.reason)


def _jittered(span: timedelta) -> timedelta:
    return timedelta(seconds=entropy.jitter(span.total_seconds(), share=0.1))


# --- serving and forgetting -------------------------------------------------------------


def picture_of(digest: str) -> bytes | None:
    """The picture with this digest; None if we have none."""
    rows = Icon.objects.filter(Q(digest=digest) & ~Q(digest=""))
    found = rows.values_list("picture", flat=True).first()
    return bytes(found) if found else None


def prune_icons() -> int:
    """Forget icons that no notification and no document has named for a long time."""
    old = Icon.objects.filter(wanted_at__lt=clock.now() - KEPT_FOR)
    count, _ = old.delete()
    return count
