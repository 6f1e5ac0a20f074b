"""Theme, density, language and time zone of the pages, stored in cookies.

Cookies, because the server must render the first response correctly, before sign-in too.
"""

from __future__ import annotations

import zoneinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import translation

if TYPE_CHECKING:
    from collections.abc import Mapping

THEMES = ("system", "light", "dark")
DENSITIES = ("comfortable", "compact")
THEME_COOKIE = "theme"
DENSITY_COOKIE = "density"
ZONE_COOKIE = "zone"
# Suggestions on the inbox page; the cookie of one that was put off.
STEPS = ("device", "push")
STEP_PUT_OFF_S = 30 * 24 * 60 * 60
LANGUAGES = tuple(code for code, _ in settings.LANGUAGES)
YEAR_S = 365 * 24 * 60 * 60


def step_cookie(name: str) -> str:
    return f"step-{name}"


def theme_of(cookies: Mapping[str, str]) -> str:
    theme = cookies.get(THEME_COOKIE, "")
    return theme if theme in THEMES else THEMES[0]


def density_of(cookies: Mapping[str, str]) -> str:
    density = cookies.get(DENSITY_COOKIE, "")
    return density if density in DENSITIES else DENSITIES[0]


def zone_of(cookies: Mapping[str, str]) -> str:
    """The browser's time zone, which ``times.js`` stores in a cookie; UTC without one."""
    name = cookies.get(ZONE_COOKIE, "").replace("%2F", "/")
    return name if name in _zone_names() else "UTC"


def language_of(scope: Mapping[str, Any]) -> str:
    """The language of a WebSocket, chosen as ``LocaleMiddleware`` does for HTTP."""
    request = HttpRequest()
    request.COOKIES = scope.get("cookies", {})
    accepted = dict(scope.get("headers", [])).get(b"accept-language", b"")
    request.META["HTTP_ACCEPT_LANGUAGE"] = accepted.decode("latin-1")
    return translation.get_language_from_request(request)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
