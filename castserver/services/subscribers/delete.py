"""Answering ``wc_notifyDelete``: the account unsubscribes.

Spec: clients/notify/notify-delete.md. Rows remain as tombstones with the time of the
delete, because a subscribe that was signed before it may arrive later and is refused.
Older topics that end with it get a delete notification from the dapp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from castserver.models import Subscriber
from castserver.services.subscribers import requests
from castserver.services.subscribers.announcements import note_changes
from castserver.services.subscribers.delete_notifications import publish_deletes
from castserver.services.subscribers.requests import Accepted
from castserver.services.subscribers.topic_requests import TopicBatch
from castserver.services.upkeep import drop_topics, unsubscribed_events
from castserver.services.webhooks.webhooks import queue_events
from common import clock, entropy
from walletconnect.notify.claims import DELETE_REASON
from walletconnect.notify.delete import answer_delete
from walletconnect.notify.methods import DELETE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from messaging.dispatch import Inbound, NotHandled

ENDED_COLUMNS: Final = (
    "deleted_at",
    "delete_reason",
    "delete_iat",
    "last_iat",
    "last_word_at",
)


def answer_all(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Answer a batch in the caller's transaction; returns what could not be handled."""
    batch = TopicBatch.of(messages, DELETE, limit="notify_delete")
    ended: dict[int, tuple[Subscriber, str]] = {}

    def decide(message: Inbound) -> Accepted:
        asked = batch.request(message)
        row, now = asked.subscriber, clock.now()
        answer = answer_delete(
            asked.request,
            asked.dapp,
            sym_key_p=message.sym_key,
            account=asked.account,
            identity=asked.cacao,
            subscription_hash=row.subscription_hash,
            iv=entropy.iv(),
            now=clock.now_s(),
            last_iat=row.last_iat_for(asked.identity_did),
            others=asked.others,
        )
        row.last_iat = answer.iat
        row.last_word_at = now
        # A wallet whose clock is ahead must not lock the account out until then.
        iat = min(answer.iat, clock.now_s())
        for each in asked.state.end(row, iat=iat):
            each.deleted_at = now
            each.delete_reason = DELETE_REASON
            each.delete_iat = None if asked.state.live else iat
            ended[each.pk] = (each, asked.identity_did)
        return Accepted(message, answer.publish, row.project_id, row)

    accepted, refused, declined = requests.each_of(messages, decide)
    rows = [row for row, _ in ended.values()]
    Subscriber.objects.bulk_update(rows, ENDED_COLUMNS)
    requests.store_answers(accepted)
    answered = {each.message.topic for each in accepted}
    older = [row for row in rows if row.topic not in answered]
    publish_deletes(older, batch.dapps, reason=DELETE_REASON)
    drop_topics([row.topic for row in rows])
    queue_events(unsubscribed_events(rows))
    note_changes(ended.values())
    return declined | requests.refuse(refused, messages, DELETE)
