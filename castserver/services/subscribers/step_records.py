"""The run log's records of steps 8 to 13: what was on the wire, without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runlog import services as runlog
from runlog.services import StepDraft
from walletconnect.notify.steps import Actor, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from messaging.dispatch import Inbound
    from walletconnect.notify.subscribe import SubscribeAnswer


def record_answers(
    answers: Iterable[tuple[Inbound, SubscribeAnswer]], *, webhook_count: int
) -> None:
    """Steps 8 to 13 of accepted requests; the run is named by the response topic."""
    drafts = []
    for message, answer in answers:
        wires: dict[Step, dict[str, object]] = {
            Step.RECEIVE_SUBSCRIBE_REQUEST: {
                "topic": message.topic,
                "tag": message.tag,
                "messageId": message.message_id,
                "envelopeType": message.envelope_type,
            },
            Step.DECRYPT_SUBSCRIPTION_AUTH: {
                "publicKeyY": (message.sender_public_key or b"").hex(),
                "act": "notify_subscription",
                "account": str(answer.account),
                "app": answer.app,
                "scope": list(answer.scope),
            },
            Step.TRIGGER_WEBHOOK: {
                "event": answer.webhook or "",
                "webhooks": webhook_count if answer.webhook else 0,
            },
            Step.GENERATE_KEY_PAIR_Z: {},
            Step.DERIVE_SYM_KEY_P: {"notifyTopic": answer.notify_topic},
            Step.RESPOND: {
                "topic": answer.publish.topic,
                "tag": int(answer.publish.tag),
                "ttl": answer.publish.ttl,
                "messageId": answer.publish.message_id,
            },
        }
        run, actor = message.sym_key.topic, Actor.CAST.value
        drafts += [
            StepDraft(run=run, step=int(step), actor=actor, wire=wire)
            for step, wire in wires.items()
        ]
    runlog.record_all(drafts)
