"""v1: the difference between a Notify server's list and what a wallet has stored.

A list is always full, so what a wallet has to do is the difference; applying the same list
again changes nothing. That ends the exchange for an account on both versions, which
receives every change twice.

    compare_list   the list, the stored subscriptions  ->  what has to change here
    listed_app     the dapp that an element names by its domain
    follow_scope   the settings of a subscription, with the types that an element enables

Departure: the released client takes every list as it comes. Here a list that is older than
the account's own delete brings nothing back (`_DELETE_GRACE`), and two clocks may differ
about the expiry of a subscription (`_LIFE_TOLERANCE`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from walletconnect.identity.did import DID_WEB, AppUrl
from walletconnect.notify.methods import SUBSCRIPTION_LIFE
from walletconnect.notify.scope import MAX_TYPES, ScopeMap, ScopeSetting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from walletconnect.crypto.keys import Topic
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.notify.watch import SubscriptionList

# Every v0 client counts the thirty days of a subscription from its own clock, and from when
# it read the answer. An hour covers wrong clocks; a real renewal moves the expiry by days.
_LIFE_TOLERANCE: Final = 60 * 60
# Deletes take a while to reach the server; lists written meanwhile still have the entry.
_DELETE_GRACE: Final = 10 * 60
_MAX_LIFE: Final = 2 * SUBSCRIPTION_LIFE


@dataclass(frozen=True, slots=True)
class KnownSubscription:
    """A stored subscription; `is_listed` if the server has ever listed it.

    `deleted_at` is when the account or the dapp ended it; one that expired is not
    `is_active` either, but has none.
    """

    topic: Topic
    enabled: frozenset[str]
    expiry: int
    is_listed: bool
    is_active: bool = True
    deleted_at: int | None = None


@dataclass(frozen=True, slots=True)
class ListChanges:
    """What a list changes. `confirmed` are stored as listed, but were never listed before."""

    added: tuple[ServerSubscription, ...] = ()
    changed: tuple[ServerSubscription, ...] = ()
    confirmed: tuple[Topic, ...] = ()
    removed: tuple[Topic, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.confirmed or self.removed)


def compare_list(
    server_list: SubscriptionList, known: Iterable[KnownSubscription], *, now: int
) -> ListChanges:
    """What changes here if the list is right about everything it ever contained.

    `known` are the account's active subscriptions, and those ended ones that the list
    names. What this server never listed may be another server's and is left alone.
    """
    listed = {each.sym_key.topic: each for each in reversed(server_list.subscriptions)}
    by_topic = {each.topic: each for each in known}
    added: list[ServerSubscription] = []
    changed: list[ServerSubscription] = []
    confirmed: list[Topic] = []
    for topic, entry in reversed(listed.items()):
        here = by_topic.get(topic)
        is_alive = now < entry.expiry <= now + _MAX_LIFE
        if here is None or not here.is_active:
            deleted_at = here.deleted_at if here is not None else None
            is_newer = (
                deleted_at is None or server_list.iat >= deleted_at + _DELETE_GRACE
            )
            if is_alive and is_newer:
                added.append(entry)
        elif is_alive and (
            frozenset(entry.scope) != here.enabled
            or not same_life(entry.expiry, here.expiry)
        ):
            changed.append(entry)
        elif not here.is_listed:
            confirmed.append(topic)
    removed = (
        each.topic
        for each in by_topic.values()
        if each.is_active and each.is_listed and each.topic not in listed
    )
    return ListChanges(tuple(added), tuple(changed), tuple(confirmed), tuple(removed))


def same_life(expiry: int, other: int) -> bool:
    """Whether two expiries are the same, allowing for different clocks."""
    return abs(expiry - other) <= _LIFE_TOLERANCE


def listed_app(domain: str, *, server: AppUrl) -> AppUrl:
    """The dapp that `appDomain` names; a dapp on the server's own host has its scheme."""
    named = AppUrl.of_did(DID_WEB + domain)
    if named.authority == server.authority:
        return replace(named, scheme=server.scheme)
    return named


def follow_scope(scope: ScopeMap, enabled: Collection[str]) -> ScopeMap:
    """The same settings with exactly `enabled` on; types that are new here come last."""
    new = [
        ScopeSetting(name, description="", enabled=True)
        for name in dict.fromkeys(enabled)
        if scope.get(name) is None
    ]
    followed = (*scope.with_enabled(enabled).settings, *new)
    if len(followed) <= MAX_TYPES:
        return ScopeMap(followed)
    # No peer accepts a longer one; types that are off can be read from the dapp again.
    return ScopeMap(tuple(each for each in followed if each.enabled)[:MAX_TYPES])
