"""System checks: combinations of settings that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from common.outbound_urls import OutboundRefused, check_url
from notifyweb import environment as env

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.apps import AppConfig

OUTBOUND = env.OUTBOUND_ALLOW
OUTBOUND_AGAIN = env.OUTBOUND_ALLOW_AGAIN


def _production(message: str, number: str, *, wrong: bool) -> list[CheckMessage]:
    if settings.PRODUCTION and wrong:
        return [Error(message, id=f"notifyweb.{number}")]
    return []


@register("notifyweb")
def check_production(
    app_configs: Sequence[AppConfig] | None,
    **_: Any,
) -> list[CheckMessage]:
    """Test settings are errors with an external database and no demo."""
    return [
        *_production("DEBUG shows secrets; set it to 0.", "E001", wrong=settings.DEBUG),
        *_production(
            f"{OUTBOUND} opens inner hosts to strangers' URLs; if that is meant, "
            f"repeat the list in {OUTBOUND_AGAIN}.",
            "E002",
            wrong=bool(settings.OUTBOUND_ALLOW)
            and set(settings.OUTBOUND_ALLOW) != set(env.names(OUTBOUND_AGAIN)),
        ),
        *_production(
            "NOTIFYWEB_FAILPOINTS and NOTIFYWEB_FAILPOINT_FOLDER end processes; they are "
            "for tests only.",
            "E003",
            wrong=bool(settings.FAILPOINTS or settings.FAILPOINT_FOLDER),
        ),
        *_production(
            "ALLOWED_HOSTS is *; name the hosts of NOTIFYWEB_PUBLIC_URL instead.",
            "E004",
            wrong="*" in settings.ALLOWED_HOSTS,
        ),
    ]


@register("notifyweb")
def check_addresses(
    app_configs: Sequence[AppConfig] | None,
    **_: Any,
) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if not settings.EMBEDDED_RELAY and not settings.PROJECT_ID:
        found.append(
            Error(
                "RELAY_URL names another relay but PROJECT_ID is empty; set it to the "
                "project id registered with that relay.",
                id="notifyweb.E005",
            )
        )
    if settings.PRODUCTION and not settings.PUBLIC_HTTPS:
        found.append(
            Warning(
                f"NOTIFYWEB_PUBLIC_URL is {settings.PUBLIC_URL}: without https, "
                "cookies and secrets travel in the clear.",
                id="notifyweb.W001",
            )
        )
    for chain_id, url in settings.RPC_URLS.items():
        try:
            check_url(url)
        except OutboundRefused as error:
            found.append(
                Error(
                    f"NOTIFYWEB_RPC_URLS: the URL of chain {chain_id} would be refused: "
                    f"{error}. Correct it, or name its host in {OUTBOUND}.",
                    id="notifyweb.E006",
                )
            )
    return found
