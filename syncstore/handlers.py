"""Updates of other wallets from the relay: ``wc_syncSet``, ``wc_syncDel``."""

from __future__ import annotations

from collections import defaultdict

from common import limits
from messaging.dispatch import Declined, Inbound, NotHandled, TryLater, handles
from messaging.models import Party
from syncstore import services
from walletconnect.relay.methods import Tag


def enforce_rate_limit(messages: list[Inbound]) -> Declined:
    """Take messages of a store topic at its rate; the others wait, none is lost.

    A refused update would leave this device different from the others for good.
    """
    by_topic: defaultdict[str, list[int]] = defaultdict(list)
    for message in messages:
        by_topic[message.topic].append(message.pk)
    declined: dict[int, NotHandled] = {}
    for topic, pks in by_topic.items():
        verdict = limits.consume("sync_topic", topic, cost=len(pks))
        taken = len(pks) if verdict.allowed else min(len(pks), verdict.remaining)
        if taken and not verdict.allowed:
            # Refused as a whole, but a part of them still has tokens.
            part = limits.consume("sync_topic", topic, cost=taken)
            taken = taken if part.allowed else 0
        late = pks[taken:]
        declined |= dict.fromkeys(late, TryLater("too many updates of this store"))
    return declined


@handles(Party.WALLET, Tag.SYNC_SET, prepare=enforce_rate_limit)
def on_sync_set(messages: list[Inbound]) -> Declined:
    return services.receive_updates(messages)


@handles(Party.WALLET, Tag.SYNC_DELETE, prepare=enforce_rate_limit)
def on_sync_delete(messages: list[Inbound]) -> Declined:
    return services.receive_updates(messages)
