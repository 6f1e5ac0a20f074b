"""The claim sets that only v1 has (October 2023 to 2024).

Spec: clients/notify/notify-authentication.md of 2024. `sub` is the did:pkh of the account in
every one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.claims import Claims, FromAccount

if TYPE_CHECKING:
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.notify.values import NotifyMessage

MAX_NOTIFICATIONS = 50
MAX_IDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSubscriptionsAuth(FromAccount, Claims):
    """Wallet to Notify server: list the subscriptions to `app`, or all (None)."""

    act = "notify_watch_subscriptions"
    nullable = frozenset({"app"})

    sub: str
    aud: str
    ksu: str
    app: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSubscriptionsResponseAuth(FromAccount, Claims):
    """Notify server to wallet: the full list, never a delta."""

    act = "notify_watch_subscriptions_response"

    aud: str
    sub: str
    sbs: tuple[ServerSubscription, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionsChangedAuth(FromAccount, Claims):
    """Notify server to wallet after a change: the full list again."""

    act = "notify_subscriptions_changed"

    aud: str
    sub: str
    sbs: tuple[ServerSubscription, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetNotificationsAuth(FromAccount, Claims):
    """Wallet to server: `lmt` notifications after `aft`, with `urf` the unread first."""

    act = "notify_get_notifications"
    nullable = frozenset({"aft"})

    aud: str
    sub: str
    ksu: str
    app: str
    lmt: int
    aft: str | None = None
    urf: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.lmt <= MAX_NOTIFICATIONS:
            raise RemoteProtocolError(
                ErrorCode.MALFORMED, f"claim lmt must be 1 to {MAX_NOTIFICATIONS}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class GetNotificationsResponseAuth(FromAccount, Claims):
    """`mre`: there are more pages; `mur`: there are unread ones on them."""

    act = "notify_get_notifications_response"

    aud: str
    sub: str
    app: str
    nfs: tuple[NotifyMessage, ...]
    mre: bool
    mur: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkReadAuth(FromAccount, Claims):
    """Wallet to server: `ids` are read, or all are."""

    act = "notify_mark_notifications_as_read"
    nullable = frozenset({"ids"})

    aud: str
    sub: str
    ksu: str
    app: str
    all: bool = False
    ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.all == (self.ids is not None):
            raise RemoteProtocolError(
                ErrorCode.MALFORMED, "exactly one of the claims all and ids is needed"
            )
        if self.ids is not None and not 1 <= len(self.ids) <= MAX_IDS:
            raise RemoteProtocolError(
                ErrorCode.MALFORMED, f"claim ids must have 1 to {MAX_IDS} elements"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkReadResponseAuth(FromAccount, Claims):
    act = "notify_mark_notifications_as_read_response"

    aud: str
    sub: str
    app: str
