"""One notification in full: what it says, why it came, and the proof that it is genuine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from walletconnect.errors import ProtocolError
from walletconnect.identity.jwt import DidJwt

if TYPE_CHECKING:
    from subscriptions.models import NotifyMessageRecord

MAX_LINK_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class MessagePage:
    record: NotifyMessageRecord
    link: str
    link_is_foreign: bool
    type_description: str
    issuer: str
    is_dapp_key: bool
    claims: str
    latency_ms: float

    @classmethod
    def of(cls, record: NotifyMessageRecord) -> MessagePage:
        subscription = record.subscription
        link = safe_link(record.url, dapp_url=subscription.dapp_url)
        token = _token_of(record.message_auth)
        setting = subscription.scope.get(record.type) or {}
        issuer = token.iss if token else ""
        received, published = record.received_at, record.published_at
        return cls(
            record=record,
            link=link,
            link_is_foreign=bool(link) and not _same_host(link, subscription.dapp_url),
            type_description=str(setting.get("description", "")),
            issuer=issuer,
            is_dapp_key=bool(issuer) and issuer == subscription.dapp_authentication_did,
            claims=_readable(token.claims) if token else "",
            latency_ms=max(0.0, (received - published).total_seconds() * 1000),
        )


def safe_link(url: str, *, dapp_url: str) -> str:
    """The link of a notification if it may be shown: https, or the dapp's own origin
    (a dapp on this machine has plain http)."""
    if len(url) > MAX_LINK_LENGTH or not url.isprintable():
        return ""
    try:
        link, dapp = urlsplit(url), urlsplit(dapp_url)
    except ValueError:
        return ""
    if not link.netloc or "@" in link.netloc or "\\" in url:
        return ""
    if link.scheme == "https":
        return url
    is_own = (link.scheme, link.netloc) == (dapp.scheme, dapp.netloc)
    return url if link.scheme == "http" and is_own else ""


def _same_host(link: str, dapp_url: str) -> bool:
    host, dapp = urlsplit(link).hostname or "", urlsplit(dapp_url).hostname or ""
    return bool(dapp) and (host == dapp or host.endswith(f".{dapp}"))


def _token_of(text: str) -> DidJwt | None:
    try:
        return DidJwt.parse(text)
    except ProtocolError:
        return None


def _readable(claims: Any) -> str:
    return json.dumps(dict(claims), indent=2, ensure_ascii=False)
