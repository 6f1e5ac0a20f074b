"""The list of a Notify server, held against what a wallet knows.

Protocol.md, sections 10.1 and 10.2. A list is always full, so what a wallet has to do is
the difference; applied once, the same list makes no difference any more. That is what
keeps an account on two generations, which hears of everything twice, from going in circles.

    fold_list      the list, what is known here  ->  what has to change here
    listed_app     the dapp that an element names by its domain
    follow_scope   the settings of a subscription, with the types that an element enables

Departure: the released client takes every list as it comes. Here a list that is older than
the account's own farewell brings nothing back (`_DELETE_GRACE`), and two clocks may
differ about the end of a subscription (`_LIFE_TOLERANCE`).
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

# Every client of August counts the thirty days of a subscription from its own clock, and
# from when it read the answer.
_LIFE_TOLERANCE: Final = 60 * 60
# A farewell takes a while to the server; lists that are written meanwhile do not know it.
_DELETE_GRACE: Final = 10 * 60
_MAX_LIFE: Final = 2 * SUBSCRIPTION_LIFE


@dataclass(frozen=True, slots=True)
class KnownSubscription:
    """What a wallet knows of a subscription: `is_listed` if the server ever told it.

    `left_at` is when it ended here by somebody's word, `is_active` False also when its
    time was over.
    """

    topic: Topic
    enabled: frozenset[str]
    expiry: int
    is_listed: bool
    is_active: bool = True
    left_at: int | None = None


@dataclass(frozen=True, slots=True)
class ListChanges:
    """What a list changes. `met` are known and as listed, but told for the first time."""

    joined: tuple[ServerSubscription, ...] = ()
    changed: tuple[ServerSubscription, ...] = ()
    met: tuple[Topic, ...] = ()
    vanished: tuple[Topic, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.joined or self.changed or self.met or self.vanished)


def fold_list(
    told: SubscriptionList, known: Iterable[KnownSubscription], *, now: int
) -> ListChanges:
    """What changes if the server's list is the truth about what it ever listed.

    `known` are the account's active subscriptions, and those ended ones that the list
    names. What this server never listed may be another server's and is left alone.
    """
    listed = {each.sym_key.topic: each for each in reversed(told.subscriptions)}
    by_topic = {each.topic: each for each in known}
    joined: list[ServerSubscription] = []
    changed: list[ServerSubscription] = []
    met: list[Topic] = []
    for topic, entry in reversed(listed.items()):
        here = by_topic.get(topic)
        if here is None or not here.is_active:
            if _is_alive(entry, now) and _may_join(here, told.iat):
                joined.append(entry)
        elif _is_alive(entry, now) and _differs(entry, here):
            changed.append(entry)
        elif not here.is_listed:
            met.append(topic)
    vanished = (
        each.topic
        for each in by_topic.values()
        if each.is_active and each.is_listed and each.topic not in listed
    )
    return ListChanges(tuple(joined), tuple(changed), tuple(met), tuple(vanished))


def _is_alive(entry: ServerSubscription, now: int) -> bool:
    return now < entry.expiry <= now + _MAX_LIFE


def _may_join(here: KnownSubscription | None, told_at: int) -> bool:
    if here is None or here.left_at is None:
        return True
    return told_at >= here.left_at + _DELETE_GRACE


def _differs(entry: ServerSubscription, here: KnownSubscription) -> bool:
    return frozenset(entry.scope) != here.enabled or not same_life(
        entry.expiry, here.expiry
    )


def same_life(expiry: int, other: int) -> bool:
    """Whether two clocks mean the same end of a subscription."""
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
    # No peer reads a longer one: types that are off can be had from the dapp again.
    return ScopeMap(tuple(each for each in followed if each.enabled)[:MAX_TYPES])
