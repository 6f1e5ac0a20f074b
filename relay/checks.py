"""Found at start, not at midnight: what the relay's clients cannot work with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from relay.inbox import LEASE
from relay.tasks import BUDGET_S, TIME_LIMIT_S

if TYPE_CHECKING:
    from collections.abc import Sequence


@register(Tags.compatibility)
def check_relay_url(**_: Any) -> Sequence[CheckMessage]:
    """``RELAY_URL`` is a WebSocket address; a foreign relay wants a project id."""
    parts = urlsplit(settings.RELAY_URL)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        return [
            Error(
                f"RELAY_URL is {settings.RELAY_URL!r}, not a WebSocket address.",
                hint="For example wss://relay.example.org",
                id="relay.E001",
            )
        ]
    if not settings.EMBEDDED_RELAY and not settings.PROJECT_ID:
        return [
            Error(
                "RELAY_URL names another relay, but PROJECT_ID is empty.",
                hint="Its operator gives out project ids.",
                id="relay.E002",
            )
        ]
    return []


@register(Tags.compatibility)
def check_lease(**_: Any) -> Sequence[CheckMessage]:
    """A worker has to be gone before its lease is (reliability.md, item 5)."""
    if BUDGET_S < TIME_LIMIT_S < LEASE.total_seconds():
        return []
    return [
        Error("An inbox task may outlive the lease of its rows.", id="relay.E003"),
    ]
