"""Handlers of the Cast Server for messages from the relay, one function per tag.

Identities are looked up before the transaction, because a Keys Server may take seconds; the
rest is one service call. Other tags on notify topics (such as wallets' responses to a
delete) have no handler and are dropped unopened.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from castserver.services.notifications import read_state, receipts
from castserver.services.subscribers import delete, subscribe, update, watch
from castserver.services.subscribers.requests import look_up
from messaging.dispatch import handles
from messaging.models import Party
from walletconnect.notify.methods import (
    DELETE,
    GET_NOTIFICATIONS,
    MARK_READ,
    SUBSCRIBE,
    UPDATE,
    WATCH,
)
from walletconnect.relay.methods import Tag

if TYPE_CHECKING:
    from messaging.dispatch import Declined, Inbound


@handles(Party.CAST, Tag.NOTIFY_SUBSCRIBE, prepare=partial(look_up, method=SUBSCRIBE))
def on_notify_subscribe(messages: list[Inbound]) -> Declined:
    return subscribe.answer_all(messages)


@handles(Party.CAST, Tag.NOTIFY_UPDATE, prepare=partial(look_up, method=UPDATE))
def on_notify_update(messages: list[Inbound]) -> Declined:
    return update.answer_all(messages)


@handles(Party.CAST, Tag.NOTIFY_DELETE, prepare=partial(look_up, method=DELETE))
def on_notify_delete(messages: list[Inbound]) -> Declined:
    return delete.answer_all(messages)


@handles(Party.CAST, Tag.NOTIFY_MESSAGE_RESPONSE, prepare=receipts.look_up)
def on_notify_message_response(messages: list[Inbound]) -> Declined:
    return receipts.store_receipts(messages)


@handles(
    Party.CAST, Tag.NOTIFY_WATCH_SUBSCRIPTIONS, prepare=partial(look_up, method=WATCH)
)
def on_notify_watch_subscriptions(messages: list[Inbound]) -> Declined:
    return watch.answer_all(messages)


@handles(
    Party.CAST,
    Tag.NOTIFY_GET_NOTIFICATIONS,
    prepare=partial(look_up, method=GET_NOTIFICATIONS),
)
def on_notify_get_notifications(messages: list[Inbound]) -> Declined:
    return read_state.answer_reads(messages)


@handles(
    Party.CAST,
    Tag.NOTIFY_MARK_NOTIFICATIONS_AS_READ,
    prepare=partial(look_up, method=MARK_READ),
)
def on_notify_mark_notifications_as_read(messages: list[Inbound]) -> Declined:
    return read_state.answer_marks(messages)
