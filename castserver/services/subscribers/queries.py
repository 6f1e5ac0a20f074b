"""Subscribed accounts and their scopes, for dapps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from castserver.models import Subscriber
from common import clock
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from castserver.models import Project


def accounts_of(project: Project) -> list[str]:
    """Every subscribed account once, as its wallet writes it, oldest first."""
    rows = (
        Subscriber.objects.of(project.pk)
        .live(clock.now())
        .oldest_first()
        .values_list("account_key", "account")
    )
    return list(dict(rows).values())


def scopes_of(project: Project, accounts: Iterable[str]) -> dict[str, list[str]]:
    """The enabled types of those ``accounts`` that are subscribed, keyed as given."""
    written: dict[str, list[str]] = {}
    for text in dict.fromkeys(accounts):
        try:
            written.setdefault(AccountId.parse(text).key, []).append(text)
        except RemoteProtocolError:
            continue
    rows = Subscriber.objects.of(project.pk).live(clock.now()).of_accounts(written)
    scopes: dict[str, list[str]] = {}
    for row in rows.oldest_first():
        known = scopes.setdefault(row.account_key, [])
        known.extend(name for name in row.scope if name not in known)
    return {text: scope for key, scope in scopes.items() for text in written[key]}
