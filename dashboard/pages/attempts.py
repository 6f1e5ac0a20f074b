"""The live page of a subscribe attempt with its twenty steps.

Each party records the steps it carries out itself (``runlog.services``). Steps on another
server are not recorded here; they count as done once a later step is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.utils.translation import gettext_lazy as _

from accounts.models import Device
from castserver.models import Project
from dashboard.keys import is_uuid
from runlog import services as records
from subscriptions.models import DappDocument, Icon, SubscribeAttempt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from django_stubs_ext import StrPromise

    from runlog.models import StepRecord

W1: Final = "w1"
CAST: Final = "cast"
WX: Final = "wx"

# Numbers as in ``walletconnect.notify.steps``.
STEPS: Final = (
    (1, W1, _("Fetches public key X from the did:web document")),
    (2, W1, _("Derives the subscribe topic: sha256 of key X")),
    (3, W1, _("Generates key pair Y")),
    (4, W1, _("Derives symmetric key S from X and Y")),
    (5, W1, _("Sends the subscribe request on the subscribe topic")),
    (6, W1, _("Derives the response topic: sha256 of key S")),
    (7, W1, _("Subscribes to the response topic")),
    (8, CAST, _("Receives the subscribe request")),
    (9, CAST, _("Derives key S and opens the subscriptionAuth")),
    (10, CAST, _("Notifies the dapp's webhook of the new account")),
    (11, CAST, _("Generates key pair Z")),
    (12, CAST, _("Derives symmetric key P from Y and Z")),
    (13, CAST, _("Answers on the response topic")),
    (14, W1, _("Receives the answer on the response topic")),
    (15, W1, _("Derives symmetric key P")),
    (16, W1, _("Derives the notify topic: sha256 of key P")),
    (17, W1, _("Subscribes to the notify topic")),
    (18, W1, _("Syncs the subscription with the other devices")),
    (19, WX, _("Stores the subscription")),
    (20, WX, _("Subscribes to the notify topic")),
)
SENDS_TO: Final = {5: CAST, 13: W1, 18: WX}

FIRST_OF_WX: Final = 19

_STATE_TEXTS: Final = {
    "resolving": (_("Reading the dapp's documents"), "accent"),
    "requested": (_("Waiting for the dapp's answer"), "accent"),
    "settled": (_("Subscribed; sharing with the other devices"), "accent"),
    "synced": (_("Subscribed and written to Sync"), "ok"),
    "rejected": (_("The dapp did not accept it"), "danger"),
    "expired": (_("The dapp did not answer in time"), "danger"),
}


@dataclass(frozen=True, slots=True)
class StepRun:
    """Who carried a step out, when, and what was visible on the wire."""

    actor: str
    at: datetime
    wire: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class StepRow:
    number: int
    lane: str
    text: StrPromise
    state: str
    runs: list[StepRun]
    # Recipient of the relay message that this step publishes.
    sends_to: str = ""
    since_start_ms: float | None = None

    @property
    def lane_name(self) -> str:
        return {W1: "W1", CAST: "Cast Server", WX: "Wx"}[self.lane]


@dataclass(frozen=True, slots=True)
class AttemptPage:
    attempt: SubscribeAttempt
    name: str
    # Digest of the picture; empty for the letter tile.
    icon: str
    steps: list[StepRow]
    summary: str
    tone: str

    @property
    def done(self) -> int:
        return sum(1 for step in self.steps if step.state == "done")

    @property
    def is_over(self) -> bool:
        return self.attempt.state in {"synced", "rejected", "expired"}

    @property
    def waits_for_a_device(self) -> bool:
        """W1 has finished, and no other device has recorded step 19 yet."""
        return self.attempt.state == "synced" and self.done < FIRST_OF_WX

    @property
    def duration_ms(self) -> float | None:
        times = [step.since_start_ms for step in self.steps if step.since_start_ms]
        return max(times, default=None)


def attempt_of(user_id: int, attempt_id: Any) -> SubscribeAttempt | None:
    return (
        SubscribeAttempt.objects.filter(account__user_id=user_id, pk=attempt_id)
        .select_related("account", "device", "subscription")
        .first()
    )


def attempt_page(attempt: SubscribeAttempt) -> AttemptPage:
    recorded: dict[int, list[StepRecord]] = {}
    if attempt.response_topic:
        for record in records.of_run(attempt.response_topic):
            recorded.setdefault(record.step, []).append(record)
    text, tone = _STATE_TEXTS[attempt.state]
    if FIRST_OF_WX in recorded:
        text = _("Subscribed and shared with the other devices")
    name, icon = _name_and_icon(attempt)
    return AttemptPage(
        attempt=attempt,
        name=name,
        icon=icon,
        steps=_rows(attempt, recorded),
        summary=str(text),
        tone=tone,
    )


def _name_and_icon(attempt: SubscribeAttempt) -> tuple[str, str]:
    """As the attempt, the dapp's documents or its project name them; else its domain."""
    url, metadata = attempt.dapp_url, attempt.metadata
    names = [str(metadata.get("name") or "")]
    icons = [str(each) for each in metadata.get("icons", [])[:1]]
    documents = DappDocument.objects.filter(url=url)
    for name, listed in documents.values_list("name", "icons"):
        names.append(name)
        icons.extend(map(str, listed[:1]))
    for name, icon in Project.objects.filter(url=url).values_list("name", "icon"):
        names.append(name)
        icons.append(icon)
    found = Icon.objects.digests(icons)
    name = next(filter(None, names), url.partition("://")[2])
    return name, next((found[each] for each in icons if each in found), "")


def _rows(
    attempt: SubscribeAttempt, recorded: Mapping[int, Sequence[StepRecord]]
) -> list[StepRow]:
    reached = max([attempt.last_step, *recorded])
    failed = attempt.state in {"rejected", "expired"}
    # By the actor key of step records: a device id, or "W1".
    keys = [each.actor_key for found in recorded.values() for each in found]
    devices = Device.objects.filter(pk__in=[key for key in keys if is_uuid(key)])
    names = {str(device.pk): device.known_as for device in devices}
    if attempt.device:
        names["W1"] = attempt.device.known_as
    rows = []
    for number, lane, text in STEPS:
        found = recorded.get(number, ())
        if found or number <= reached:
            state = "done"
        elif number == reached + 1:
            state = "failed" if failed else "next"
        else:
            state = "waiting"
        since = (
            (found[0].at - attempt.created_at).total_seconds() * 1000 if found else None
        )
        rows.append(
            StepRow(
                number=number,
                lane=lane,
                text=text,
                state=state,
                runs=[
                    StepRun(
                        actor=f"{name} ({record.actor})"
                        if (name := names.get(record.actor_key or record.actor))
                        else record.actor,
                        at=record.at,
                        wire=[
                            (str(field), _flatten(value))
                            for field, value in record.wire.items()
                        ],
                    )
                    for record in found
                ],
                sends_to=SENDS_TO.get(number, ""),
                since_start_ms=max(since, 0) if since is not None else None,
            )
        )
    return rows


def _flatten(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_flatten(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(_flatten(each) for each in value)
    return str(value)


def latest_attempts(
    user_id: int, *, limit: int = 5, only_open: bool = False
) -> list[SubscribeAttempt]:
    found = SubscribeAttempt.objects.filter(account__user_id=user_id)
    if only_open:
        found = found.filter(state__in=["resolving", "requested"])
    return list(found.select_related("account").order_by("-created_at")[:limit])
