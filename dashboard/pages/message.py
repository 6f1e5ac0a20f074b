"""One notification in full, with its signature and the claims of its token."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from alerts.services.preferences import active_mutes
from dashboard.pages.snippets import readable
from subscriptions.models import Icon
from walletconnect.errors import ProtocolError
from walletconnect.identity.jwt import DidJwt
from walletconnect.identity.web_host import normalize_host

if TYPE_CHECKING:
    from alerts.models import Mute
    from subscriptions.models import NotifyMessageRecord, Subscription

MAX_LINK_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class MessagePage:
    record: NotifyMessageRecord
    link: str
    link_is_foreign: bool
    # The type's description in parentheses, or "".
    type_note: str
    issuer: str
    is_dapp_key: bool
    claims: str
    latency_ms: float
    # The mute of its type or of its dapp, if one is in force.
    mute: Mute | None
    can_mute: bool
    # Digest of the picture; empty for the letter tile.
    icon: str

    @classmethod
    def of(cls, record: NotifyMessageRecord) -> MessagePage:
        subscription = record.subscription
        link = safe_link(record.url, dapp_url=subscription.dapp_url)
        token = None
        with contextlib.suppress(ProtocolError):
            token = DidJwt.parse(record.message_auth)
        setting = subscription.scope.get(record.type) or {}
        description = setting.get("description", "")
        issuer = token.iss if token else ""
        host = urlsplit(link).hostname or ""
        dapp = urlsplit(subscription.dapp_url).hostname or ""
        is_own_host = bool(dapp) and (host == dapp or host.endswith(f".{dapp}"))
        received, published = record.received_at, record.published_at
        mutes = active_mutes([subscription.account_id])
        place = subscription.account_id, subscription.dapp_url
        return cls(
            record=record,
            link=link,
            link_is_foreign=bool(link) and not is_own_host,
            type_note=f" ({description})" if description else "",
            issuer=issuer,
            is_dapp_key=bool(issuer) and issuer == subscription.dapp_authentication_did,
            claims=readable(dict(token.claims)) if token else "",
            icon=icon_of(subscription, record.icon),
            latency_ms=max(0.0, (received - published).total_seconds() * 1000),
            mute=mutes.get((*place, record.type)) or mutes.get((*place, "")),
            can_mute=record.type in subscription.scope,
        )


def icon_of(subscription: Subscription, named: str = "") -> str:
    """The digest of the picture that a notification names, or else of its dapp's."""
    urls = [named, *subscription.metadata.get("icons", [])[:1]]
    found = Icon.objects.digests(urls)
    return next((found[url] for url in urls if url in found), "")


def safe_link(url: str, *, dapp_url: str) -> str:
    """``url`` if it may be shown: https, or http on the dapp's own origin (a dapp under
    development on localhost), otherwise "" (javascript:, data:, user info).

    A host in other letters becomes punycode, so that look-alikes show.
    """
    if len(url) > MAX_LINK_LENGTH or not url.isprintable():
        return ""
    try:
        link, dapp = urlsplit(url), urlsplit(dapp_url)
    except ValueError:
        return ""
    if not link.netloc or "@" in link.netloc or "\\" in url:
        return ""
    if not link.netloc.isascii():
        try:
            host = normalize_host(link.hostname or "")
            port = "" if link.port is None else f":{link.port}"
        except ValueError:
            return ""
        link = link._replace(netloc=host + port)
        url = link.geturl()
    if link.scheme == "https":
        return url
    is_own = (link.scheme, link.netloc) == (dapp.scheme, dapp.netloc)
    return url if link.scheme == "http" and is_own else ""
