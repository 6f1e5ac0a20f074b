"""CACAOs as released wallets make them, for tests that sign in or register keys."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from walletconnect.identity.cacao import VERSION, CacaoPayload, format_time

if TYPE_CHECKING:
    from walletconnect.identity.did import AccountId

# Grants one app its notifications; of 2024.
LIMITED_STATEMENT = (
    "I further authorize this app to send me notifications. "
    "Read more at https://walletconnect.com/notifications"
)


def identity_payload(
    account: AccountId, *, identity_key: str, keys_server_url: str, nonce: str, now: int
) -> CacaoPayload:
    """The payload that registers `identity_key`, as the client of August 2023 makes it."""
    return CacaoPayload(
        iss=account.did,
        domain=urlsplit(keys_server_url).netloc,
        aud=keys_server_url,
        version=VERSION,
        nonce=nonce,
        iat=format_time(now),
        statement="",
        resources=(identity_key,),
    )
