"""Dapp addresses as people paste them, normalized."""

from __future__ import annotations

from typing import Final

from common.outbound import is_exempt
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.app_url import AppUrl

# Host names have up to 253 characters, and a path may follow.
MAX_DAPP_URL: Final = 512
# Clients fetch the documents of these by plain http.
LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


class NotAnAddress(ValueError):
    """The text is not the address of a dapp; ``str`` is the reason for the user."""


def parse_dapp_url(text: str) -> AppUrl:
    """The dapp at ``text``: any page address of it, with or without ``https://``."""
    entered = text.strip()
    if "://" not in entered:
        entered = entered.removeprefix("//")
        scheme = "http" if _is_local(entered) else "https"
        entered = f"{scheme}://{entered}"
    try:
        url = AppUrl.parse(entered)
    except RemoteProtocolError as error:
        reason = error.message.rpartition(": ")[2]
        raise NotAnAddress(
            f"That is not the address of a dapp: {reason}. Enter it as "
            "https://app.example, with at most a path."
        ) from None
    if len(str(url)) > MAX_DAPP_URL:
        raise NotAnAddress(f"That address has more than {MAX_DAPP_URL} characters.")
    if "." not in url.host and ":" not in url.host and not _is_local(url.authority):
        raise NotAnAddress(
            "That is not the address of a dapp: its host name has no dot."
        )
    return url


def _is_local(authority: str) -> bool:
    host = authority.partition("/")[0].lower()
    if host.startswith("["):
        host = host.partition("]")[0] + "]"
    else:
        host = host.partition(":")[0].partition("?")[0].partition("#")[0]
    return host in LOCAL_NAMES or is_exempt(host.strip("[]"))
