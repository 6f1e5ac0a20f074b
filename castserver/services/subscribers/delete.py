"""Answering ``wc_notifyDelete``: the account leaves.

Spec: clients/notify/notify-delete.md; protocol.md, sections 5.3, 5.6 and 10.3. Rows stay as
tombstones that remember when the account said so: a subscribe signed before is refused.
Topics that end with it, because they are older, are told by a delete of the dapp's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from castserver.models import Subscriber
from castserver.services.subscribers import requests
from castserver.services.subscribers.announcements import note_changes
from castserver.services.subscribers.delete_notifications import publish_deletes
from castserver.services.subscribers.requests import Accepted
from castserver.services.subscribers.topic_requests import TopicBatch
from castserver.services.upkeep import drop_topics, gone_events
from castserver.services.webhooks.webhooks import queue_events
from common import clock, entropy
from walletconnect.notify.claims import DELETE_REASON
from walletconnect.notify.delete import answer_delete
from walletconnect.notify.methods import DELETE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from castserver.services.subscribers.topic_requests import TopicRequest
    from messaging.dispatch import Inbound, NotHandled

ENDED_COLUMNS: Final = (
    "deleted_at",
    "delete_reason",
    "delete_iat",
    "last_iat",
    "last_word_at",
)


def answer_all(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Answer a batch in the caller's transaction; what is left to say about the rest."""
    batch = TopicBatch.of(messages, DELETE, limit="notify_delete")
    ended: dict[int, Subscriber] = {}
    sources: dict[int, str] = {}

    def decide(message: Inbound) -> Accepted:
        asked = batch.request(message)
        accepted = _answer(asked)
        for row in _end(asked):
            ended[row.pk] = row
            sources[row.pk] = asked.identity_did
        return accepted

    accepted, refused, declined = requests.each_of(messages, decide)
    Subscriber.objects.bulk_update(ended.values(), ENDED_COLUMNS)
    requests.keep_answers(accepted)
    answered = {each.message.topic for each in accepted}
    older = [row for row in ended.values() if row.topic not in answered]
    publish_deletes(older, batch.dapps, reason=DELETE_REASON)
    drop_topics([row.topic for row in ended.values()])
    queue_events(gone_events(list(ended.values())))
    note_changes((row, sources[pk]) for pk, row in ended.items())
    return declined | requests.refuse(refused, messages, DELETE)


def _answer(asked: TopicRequest) -> Accepted:
    row = asked.subscriber
    answer = answer_delete(
        asked.request,
        asked.dapp,
        sym_key_p=asked.message.sym_key,
        account=asked.account,
        identity=asked.cacao,
        subscription_hash=row.subscription_hash,
        iv=entropy.iv(),
        now=clock.now_s(),
        last_iat=row.last_iat_for(asked.identity_did),
        others=asked.others,
    )
    row.last_iat = answer.iat
    row.last_word_at = clock.now()
    return Accepted(asked.message, answer.publish, row.project_id, row)


def _end(asked: TopicRequest) -> list[Subscriber]:
    # No clock of a wallet may forbid the account to come back.
    iat = min(asked.subscriber.last_iat, clock.now_s())
    ended = asked.standing.end(asked.subscriber, iat=iat)
    has_left = not asked.standing.live
    for row in ended:
        row.deleted_at = clock.now()
        row.delete_reason = DELETE_REASON
        row.delete_iat = iat if has_left else None
        row.project = asked.subscriber.project
    return ended
