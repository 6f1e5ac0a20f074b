"""Steps 7, 17 and 20, which are done once the relay has confirmed a topic.

The step waits as the context of the topic's callback (``messaging.confirmations``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runlog import services as runlog
from runlog.services import StepDraft
from walletconnect.notify.steps import Step
from walletconnect.relay.frames import RelayMethod

if TYPE_CHECKING:
    from messaging.confirmations import Confirmed
    from walletconnect.json_values import JsonObject

RECORD_TOPIC_STEP: Final = "subscriptions.record_topic_step"


def topic_step(
    run: str, step: Step, *, account_id: int | None = None, actor_key: str = ""
) -> JsonObject:
    """The context of ``RECORD_TOPIC_STEP``."""
    return {
        "run": run,
        "step": int(step),
        "accountId": account_id,
        "actorKey": actor_key,
    }


def record_topic_steps(confirmed: list[Confirmed]) -> None:
    runlog.record_all(_draft(each.context, each) for each in confirmed)


def _draft(context: dict[str, Any], confirmed: Confirmed) -> StepDraft:
    step = Step(context["step"])
    return StepDraft(
        context["run"],
        step,
        step.actor.value,
        {"method": RelayMethod.SUBSCRIBE.wire, "topic": confirmed.topic},
        at=confirmed.at,
        account_id=context["accountId"],
        actor_key=context["actorKey"],
    )
