"""What the wallet-side services share: signing identities, keys, outbox and events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from accounts.services import EventDraft, EventKind
from identity import services as identity
from keychain.services import Holder, put_sym_keys, sym_keys
from messaging import outbox
from messaging.models import Party
from subscriptions.services.errors import NotYours, TooMany
from walletconnect.identity.did import AccountId
from walletconnect.notify.parties import WalletIdentity
from walletconnect.notify.subscribe import announce_subscription

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from accounts.models import Account, Device
    from identity.services import SigningIdentity
    from subscriptions.models import (
        NotifyMessageRecord,
        SubscribeAttempt,
        Subscription,
    )
    from walletconnect.crypto.keys import SymKey, Topic
    from walletconnect.notify.values import NotifySubscription
    from walletconnect.relay.messages import Publication


# --- permissions and limits -------------------------------------------------------------


def require_own(account: Account, device: Device) -> None:
    """Refuse a device of another user, and one that was signed out."""
    if device.user_id != account.user_id or not device.is_active():
        raise NotYours


def require_few_types(
    wanted: Collection[str], *, already: Collection[str] = ()
) -> None:
    """Refuse more types than a subscription may enable.

    Another wallet may have enabled more; any subset of those is accepted.
    """
    most = settings.LIMITS.scopes_per_subscription
    chosen = set(wanted)
    if len(chosen) > most and not chosen <= set(already):
        raise TooMany(
            f"A subscription has at most {most} types, and {len(chosen)} are chosen. "
            f"Switch {len(chosen) - most} of them off."
        )


# --- signing identities -----------------------------------------------------------------


def wallet_identity(account: Account, device: Device | None) -> WalletIdentity:
    """Who signs for the account. Raises ``identity.services.NoIdentityKey``."""
    return _wallet_identity(account, identity.signing_identity(account, device=device))


def wallet_identities(accounts: Iterable[Account]) -> dict[int, WalletIdentity]:
    """Who signs for each account, by its pk; accounts without a key are left out."""
    by_pk = {account.pk: account for account in accounts}
    found = identity.signing_identities(list(by_pk))
    return {pk: _wallet_identity(by_pk[pk], signer) for pk, signer in found.items()}


def v1_identities(
    accounts: Iterable[Account], *, preferred: Mapping[int, str] | None = None
) -> dict[int, WalletIdentity]:
    """The same for requests of protocol v1, which need the owner's permission.

    ``preferred`` maps accounts to the did:key that is used while it is still permitted.
    """
    by_pk = {account.pk: account for account in accounts}
    found = identity.watching_identities(
        dict.fromkeys(by_pk, "") if preferred is None else dict(preferred)
    )
    return {pk: _wallet_identity(by_pk[pk], signer) for pk, signer in found.items()}


def _wallet_identity(account: Account, signer: SigningIdentity) -> WalletIdentity:
    return WalletIdentity(
        account=AccountId.parse(account.address),
        key=signer.key,
        keys_server_url=signer.keys_server,
    )


# --- keys -------------------------------------------------------------------------------


def notify_keys(subscriptions: Iterable[Subscription]) -> dict[Topic, SymKey]:
    """Key P of each subscription, by topic."""
    return sym_keys(Holder.WALLET, [each.topic for each in subscriptions])


def keep_notify_keys(values: Iterable[NotifySubscription], *, account_id: int) -> None:
    put_sym_keys(
        Holder.WALLET, [value.sym_key for value in values], account_id=account_id
    )


# --- messages ---------------------------------------------------------------------------


def publish(publications: Iterable[Publication]) -> None:
    """Put messages of the core into the wallet's outbox, in this order per topic."""
    outbox.publish_all(Party.WALLET, publications)


def store_entries(values: Iterable[NotifySubscription]) -> Mapping[str, str]:
    """Key and value in the shared store, for ``store_set``, which assigns the ids."""
    updates = [announce_subscription(value, update_id=1) for value in values]
    return {update.key: update.value for update in updates}


def describe(value: NotifySubscription) -> str:
    """A subscription for the sync log: "Acme DAO: alerts, news"."""
    name = value.metadata.name or value.metadata.url
    enabled = ", ".join(value.scope.enabled) or "all types off"
    return f"{name}: {enabled}"


# --- events for browsers ----------------------------------------------------------------


def attempt_event(attempt: SubscribeAttempt) -> EventDraft:
    subject = f"subscriptions.subscribeattempt:{attempt.pk}"
    return EventDraft(attempt.account_id, EventKind.STEP, subject)


def subscription_event(kind: EventKind, row: Subscription) -> EventDraft:
    return EventDraft(row.account_id, kind, f"subscriptions.subscription:{row.pk}")


def message_event(kind: EventKind, account_id: int, record_pk: int) -> EventDraft:
    subject = f"subscriptions.notifymessagerecord:{record_pk}"
    return EventDraft(account_id, kind, subject)


def message_events(
    kind: EventKind, records: Collection[NotifyMessageRecord]
) -> list[EventDraft]:
    """For records whose subscription is loaded."""
    return [
        message_event(kind, record.subscription.account_id, record.pk)
        for record in records
    ]
