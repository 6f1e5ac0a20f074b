"""What the record of a run says about steps 8 to 13: what crossed the wire, no secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runlog import services as runlog
from runlog.services import StepDraft
from walletconnect.notify.steps import Actor, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from messaging.dispatch import Inbound
    from walletconnect.notify.subscribe import SubscribeAnswer


def record_answer(
    answers: Iterable[tuple[Inbound, SubscribeAnswer]], *, webhook_count: int
) -> None:
    """Steps 8 to 13 of every accepted request; the run is its response topic."""
    runlog.record_all(
        draft
        for message, answer in answers
        for draft in _drafts(message, answer, webhook_count=webhook_count)
    )


def _drafts(
    message: Inbound, answer: SubscribeAnswer, *, webhook_count: int
) -> list[StepDraft]:
    public_key_y = message.sender_public_key or b""
    wires: dict[Step, dict[str, object]] = {
        Step.RECEIVE_SUBSCRIBE_REQUEST: {
            "topic": message.topic,
            "tag": message.tag,
            "messageId": message.message_id,
            "envelopeType": message.envelope_type,
        },
        Step.DECRYPT_SUBSCRIPTION_AUTH: {
            "publicKeyY": public_key_y.hex(),
            "act": "notify_subscription",
            "account": str(answer.account),
            "app": answer.app,
            "scope": list(answer.scope),
        },
        Step.TRIGGER_WEBHOOK: {
            "event": answer.webhook.event if answer.webhook else "",
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
    return [
        StepDraft(
            run=message.sym_key.topic, step=int(step), actor=Actor.CAST.value, wire=wire
        )
        for step, wire in wires.items()
    ]
