"""What a CACAO allows its key to manage: one app's notifications, or all of them.

Spec: clients/notify/notify-authentication.md of 2024.

Only v1 has permissions. There the statement that the user signed is the permission, or a
recap in the last resource. In v0 the statement is empty, which here permits nothing: no v0
method lists subscriptions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.siwe import recap_of

if TYPE_CHECKING:
    from walletconnect.identity.cacao import Cacao

_LIMITED_STATEMENT: Final = (
    "I further authorize this app to send me notifications. "
    "Read more at https://walletconnect.com/notifications"
)
ALL_APPS_STATEMENT: Final = (
    "I further authorize this app to view and manage my notifications for ALL apps. "
    "Read more at https://walletconnect.com/notifications-all-apps"
)
_IDENTITY_2023: Final = (
    "I further authorize this app to send and receive messages on my behalf{} "
    "using my WalletConnect identity. "
    "Read more at https://walletconnect.com/identity"
)

_LIMITED = frozenset({_LIMITED_STATEMENT, _IDENTITY_2023.format(" for THIS domain")})
_ALL_APPS = frozenset(
    {
        ALL_APPS_STATEMENT,
        ALL_APPS_STATEMENT.removesuffix("-all-apps"),
        _IDENTITY_2023.format(""),
        _IDENTITY_2023.format(" for ALL domains"),
    }
)

# The clients of autumn 2023, whose Swift and Kotlin forms name the Keys Server's host.
_AUTUMN_2023: Final = (
    r"I further authorize this {} to send and receive messages on my behalf for {} "
    r"(using my WalletConnect identity|and manage my identity at \S+)\."
)
_LIMITED_2023: Final = re.compile(_AUTUMN_2023.format("DAPP", "this domain"))
_ALL_APPS_2023: Final = re.compile(_AUTUMN_2023.format("WALLET", "ALL domains"))

_RECAP_RESOURCE: Final = "https://notify.walletconnect.com"
_RECAP_ABILITY: Final = "manage"
_ALL_APPS_ACTION: Final = "all-apps-notifications"
_APP_ACTION = "-notifications"


@dataclass(frozen=True, slots=True)
class AppAuthorization:
    """The apps that a key may manage; `domains` does not matter if `all_apps`."""

    all_apps: bool
    domains: frozenset[str] = frozenset()

    def allows(self, domain: str | None) -> bool:
        """Whether the key may manage `domain`; None asks for all apps at once."""
        if self.all_apps or domain is None:
            return self.all_apps
        # A permission for a host covers the apps in its folders.
        return any(f"{domain}/".startswith(f"{each}/") for each in self.domains)

    def require(self, domain: str | None) -> None:
        if not self.allows(domain):
            raise RemoteProtocolError(
                ErrorCode.UNAUTHORIZED, "the account did not authorize this app"
            )


def authorization_of(cacao: Cacao) -> AppAuthorization:
    """What a verified CACAO allows; nothing if its statement is unknown."""
    payload = cacao.payload
    recap = recap_of(payload.resources)
    if recap is not None:
        if recap.sentence not in payload.signed_text.build():
            # The wallet displayed other grants than the recap holds.
            return AppAuthorization(all_apps=False)
        actions = recap.actions(_RECAP_RESOURCE, _RECAP_ABILITY)
        if _ALL_APPS_ACTION in actions:
            return AppAuthorization(all_apps=True)
        domains = {action.removesuffix(_APP_ACTION) for action in actions}
        return AppAuthorization(all_apps=False, domains=frozenset(domains))
    statement = payload.statement or ""
    if statement in _ALL_APPS or _ALL_APPS_2023.fullmatch(statement):
        return AppAuthorization(all_apps=True)
    if statement in _LIMITED or _LIMITED_2023.fullmatch(statement):
        return AppAuthorization(all_apps=False, domains=frozenset({payload.domain}))
    return AppAuthorization(all_apps=False)
