"""Updates of other wallets, as they come from the relay: ``wc_syncSet``, ``wc_syncDel``."""

from __future__ import annotations

from collections import defaultdict

from common import limits
from messaging.dispatch import Declined, Inbound, NotHandled, TryLater, handles
from messaging.models import Party
from syncstore import services
from walletconnect.relay.methods import Tag


def enforce_rate_limit(messages: list[Inbound]) -> Declined:
    """Let a store topic through at its rate; what is beyond waits, nothing is lost.

    A peer may flood the topic, but a refused update would leave this device different
    from the others for good.
    """
    by_topic: defaultdict[str, list[int]] = defaultdict(list)
    for message in messages:
        by_topic[message.topic].append(message.pk)
    declined: dict[int, NotHandled] = {}
    for topic, pks in by_topic.items():
        late = pks[_allowed(topic, len(pks)) :]
        declined |= dict.fromkeys(late, TryLater("too many updates of this store"))
    return declined


def _allowed(topic: str, wanted: int) -> int:
    verdict = limits.consume("sync_topic", topic, cost=wanted)
    if verdict.allowed:
        return wanted
    part = min(wanted, verdict.remaining)
    return (
        part if part and limits.consume("sync_topic", topic, cost=part).allowed else 0
    )


@handles(Party.WALLET, Tag.SYNC_SET, prepare=enforce_rate_limit)
def on_sync_set(messages: list[Inbound]) -> Declined:
    return services.receive_updates(messages)


@handles(Party.WALLET, Tag.SYNC_DELETE, prepare=enforce_rate_limit)
def on_sync_delete(messages: list[Inbound]) -> Declined:
    return services.receive_updates(messages)
