"""Handlers of relay messages, and of changes in the sync store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from messaging.confirmations import Confirmed, on_confirmed
from messaging.dispatch import Declined, Inbound, Refused, handles
from messaging.models import Party
from preferences.registry import puts_into_force
from subscriptions import services
from syncstore.registry import on_applied, on_rebuilt
from walletconnect.relay.methods import Tag
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accounts.models import Account
    from accounts.services import EventDraft
    from syncstore.models import Store
    from syncstore.registry import AppliedUpdate, Consequences
    from walletconnect.json_values import JsonValue


@handles(Party.WALLET, Tag.NOTIFY_SUBSCRIBE_RESPONSE)
def on_notify_subscribe_response(messages: list[Inbound]) -> Declined:
    return services.settle_attempts(messages)


@handles(Party.WALLET, Tag.NOTIFY_MESSAGE)
def on_notify_message(messages: list[Inbound]) -> Declined:
    return services.receive_messages(messages)


@handles(Party.WALLET, Tag.NOTIFY_UPDATE_RESPONSE)
def on_notify_update_response(messages: list[Inbound]) -> Declined:
    return services.settle_updates(messages)


@handles(Party.WALLET, Tag.NOTIFY_DELETE, prepare=services.resolve_signers)
def on_notify_delete(messages: list[Inbound]) -> Declined:
    return services.receive_deletes(messages)


@handles(Party.WALLET, Tag.NOTIFY_GET_NOTIFICATIONS_RESPONSE)
def on_notify_get_notifications_response(messages: list[Inbound]) -> Declined:
    return services.receive_pages(messages)


@handles(Party.WALLET, Tag.NOTIFY_DELETE_RESPONSE)
@handles(Party.WALLET, Tag.NOTIFY_MESSAGE_RESPONSE)
@handles(Party.WALLET, Tag.NOTIFY_UPDATE)
def ignore_peer_traffic(messages: list[Inbound]) -> Declined:
    """Traffic between the dapp and other wallets of the account, which share the topic."""
    reason = Refused("meant for the dapp or for another wallet")
    return {message.pk: reason for message in messages}


@handles(Party.WALLET, Tag.NOTIFY_WATCH_SUBSCRIPTIONS_RESPONSE)
def on_notify_watch_subscriptions_response(messages: list[Inbound]) -> Declined:
    return services.receive_lists(messages)


@handles(Party.WALLET, Tag.NOTIFY_SUBSCRIPTIONS_CHANGED)
def on_notify_subscriptions_changed(messages: list[Inbound]) -> Declined:
    return services.receive_lists(messages)


@on_confirmed(services.RECORD_TOPIC_STEP)
def on_topic_confirmed(confirmed: list[Confirmed]) -> None:
    services.record_topic_steps(confirmed)


@on_applied(NOTIFY_SUBSCRIPTION_STORE)
def on_store_applied(store: Store, applied: list[AppliedUpdate]) -> Consequences:
    return services.adopt(store, applied)


@on_rebuilt(NOTIFY_SUBSCRIPTION_STORE)
def on_store_rebuilt(store: Store) -> Sequence[EventDraft]:
    return services.announce_missing(store)


@puts_into_force("block")
def on_blocks_changed(
    account: Account, values: Mapping[str, JsonValue]
) -> Sequence[EventDraft]:
    return services.apply_blocks(account, values)
