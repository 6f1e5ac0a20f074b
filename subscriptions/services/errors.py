"""Refusals, with texts for the person who made the request.

SubscriptionRefused
├── NotYours            the account or subscription belongs to another user
├── DappUnusable        the URL, or what the dapp serves there, cannot be used
├── UnknownTypes        the dapp does not offer such a type
├── AlreadySubscribed   with the subscription
├── TypesChanged        another device changed them since the form was opened
├── DappBlocked         the account has blocked the dapp
├── TooMany             a limit is reached; ``retry_after`` seconds, if waiting helps
└── NotReady            a key is not known yet; trying again will help
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from subscriptions.models import Subscription


class SubscriptionRefused(Exception):
    """Nothing was changed."""


class NotYours(SubscriptionRefused):
    def __init__(self) -> None:
        super().__init__("This browser is not signed in with that account.")


class DappUnusable(SubscriptionRefused):
    pass


class UnknownTypes(SubscriptionRefused):
    def __init__(self, names: Collection[str]) -> None:
        super().__init__(f"The dapp does not offer: {', '.join(sorted(names))}.")


class TypesChanged(SubscriptionRefused):
    def __init__(self) -> None:
        super().__init__("The types were changed elsewhere while you were choosing.")


class AlreadySubscribed(SubscriptionRefused):
    def __init__(self, subscription: Subscription) -> None:
        super().__init__("The account is subscribed to this dapp already.")
        self.subscription = subscription


class DappBlocked(SubscriptionRefused):
    def __init__(self) -> None:
        super().__init__(
            "You have blocked this dapp. Unblock it under Subscriptions first."
        )


class TooMany(SubscriptionRefused):
    def __init__(self, text: str, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class NotReady(SubscriptionRefused):
    pass
