"""Answering ``wc_notifyUpdate``: the account changes which types it allows.

Spec: clients/notify/notify-update.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from castserver.models import Subscriber
from castserver.services.subscribers import requests
from castserver.services.subscribers.announcements import note_changes
from castserver.services.subscribers.requests import Accepted
from castserver.services.subscribers.topic_requests import TopicBatch
from common import clock, entropy
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.methods import UPDATE
from walletconnect.notify.update import answer_update

if TYPE_CHECKING:
    from collections.abc import Sequence

    from castserver.services.subscribers.topic_requests import TopicRequest
    from messaging.dispatch import Inbound, NotHandled


def answer_all(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Answer a batch in the caller's transaction; returns what could not be handled."""
    batch = TopicBatch.of(messages, UPDATE, limit="notify_update")
    earlier = requests.answered_before(messages)
    requests.send_again(earlier.values())
    fresh = [each for each in messages if each.pk not in earlier]
    accepted, refused, declined = requests.each_of(
        fresh, lambda message: _answer(batch.request(message))
    )
    changed = {
        each.subscriber.pk: each.subscriber
        for each in accepted
        if each.subscriber is not None
    }
    Subscriber.objects.bulk_update(changed.values(), Subscriber.RENEWED)
    requests.store_answers(accepted)
    note_changes((row, row.identity_did) for row in changed.values())
    return declined | requests.refuse(refused, fresh, UPDATE)


def _answer(asked: TopicRequest) -> Accepted:
    row = asked.subscriber
    answer = answer_update(
        asked.request,
        asked.dapp,
        sym_key_p=asked.message.sym_key,
        account=asked.account,
        identity=asked.cacao,
        iv=entropy.iv(),
        now=clock.now_s(),
        last_iat=row.last_iat_for(asked.identity_did),
        others=asked.others,
    )
    if len(answer.scope) > settings.LIMITS.scopes_per_subscription:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, "too many types")
    row.renew(answer, identity_did=asked.identity_did)
    return Accepted(asked.message, answer.publish, row.project_id, row)
