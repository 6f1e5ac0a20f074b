"""How a person wants the pages to look: cookies, so that the first byte is right."""

from __future__ import annotations

import zoneinfo
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

THEMES = ("system", "light", "dark")
DENSITIES = ("comfortable", "compact")
THEME_COOKIE = "theme"
DENSITY_COOKIE = "density"
ZONE_COOKIE = "zone"
YEAR_S = 365 * 24 * 60 * 60


def theme_of(cookies: Mapping[str, str]) -> str:
    return _one_of(cookies.get(THEME_COOKIE, ""), THEMES)


def density_of(cookies: Mapping[str, str]) -> str:
    return _one_of(cookies.get(DENSITY_COOKIE, ""), DENSITIES)


def zone_of(cookies: Mapping[str, str]) -> str:
    """The browser's time zone, as its script told us; UTC until then."""
    name = cookies.get(ZONE_COOKIE, "").replace("%2F", "/")
    return name if name in _zone_names() else "UTC"


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _one_of(value: str, known: tuple[str, ...]) -> str:
    return value if value in known else known[0]
