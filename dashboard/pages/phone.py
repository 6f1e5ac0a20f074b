"""Phone wallets: the relay over which the browser meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from django.conf import settings

if TYPE_CHECKING:
    from django.http import HttpResponse

# Relays refuse connections without a project id; ours accepts any.
OWN_PROJECT_ID: Final = "notifyweb"
LOCAL_HOSTS: Final = {name.strip("[]") for name in settings.LOOPBACK_NAMES}


def relay_context() -> dict[str, Any]:
    """What templates need to know of the relay."""
    relay = settings.PHONE_RELAY_URL
    return {
        "relay": relay,
        "relay_project": settings.PROJECT_ID or OWN_PROJECT_ID,
        "relay_is_ours": relay == settings.RELAY_PUBLIC_URL,
        "relay_is_local": (urlsplit(relay).hostname or "") in LOCAL_HOSTS,
    }


def allow_relay(response: HttpResponse) -> HttpResponse:
    """Let this page connect to the relay, too: this origin only, and this page only."""
    parts = urlsplit(settings.PHONE_RELAY_URL)
    # Read by django-csp, as its own decorators set it.
    response._csp_update = {  # type: ignore[attr-defined]
        "connect-src": [f"{parts.scheme}://{parts.netloc}"]
    }
    return response
