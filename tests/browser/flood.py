"""Stores many notifications at once, with their events, as a worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.system import System

PLAIN: Final = "t" * 64, "b" * 255
# The same number of characters, as large as they get in HTML and in UTF-8.
ESCAPED: Final = "&\"<>'" * 12 + "&&&&", '"' * 255
WIDE: Final = "\N{FAMILY}" * 58, "\N{FAMILY}" * 255
MAX_URL_LENGTH: Final = "https://acme.example/" + "u" * 234

# Runs in ``manage.py shell`` of the system, which has its own database.
CODE: Final = """
from datetime import timedelta
from django.db import transaction
from accounts.services import record_events
from common import clock
from subscriptions.models import NotifyMessageRecord, Subscription
from subscriptions.services.wallet import message_events
topic, number, title, body, url, tag, fresh = {arguments!r}
owner = Subscription.objects.select_related("account").get(topic=topic)
if fresh:
    owner.messages.all().delete()
now, first = clock.now(), clock.now_ms() * 1000
for start in range(0, number, 500):
    with transaction.atomic():
        records = NotifyMessageRecord.objects.bulk_create([
            NotifyMessageRecord(
                subscription=owner, rpc_id=first + place, type="alerts",
                title=f"{{tag}}{{place:05d}} {{title}}"[:64], body=body, url=url,
                message_auth="x", received_at=now,
                published_at=now + timedelta(milliseconds=place),
            )
            for place in range(start, min(start + 500, number))
        ])
        record_events(message_events("notify.message", records))
"""


def flood(
    system: System,
    topic: str,
    number: int,
    text: tuple[str, str] = PLAIN,
    *,
    tag: str = "",
    fresh: bool = False,
) -> None:
    """Store ``number`` notifications for a subscription, instead of what it has if
    ``fresh``. Titles begin with ``tag`` and five digits, in the order of time."""
    arguments = (topic, number, *text, MAX_URL_LENGTH, tag, fresh)
    system.manage("shell", "-v0", "-c", CODE.format(arguments=arguments))
