"""A run of the twenty steps, as a person can look at it while it happens.

Each side records the steps that it carries out itself (``runlog.services``). Steps of a dapp's
server elsewhere are not recorded here; that they were done is known when a later step was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from accounts.models import Device
from castserver.models import Project
from runlog import services as records
from subscriptions.models import DappDocument, SubscribeAttempt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from runlog.models import StepRecord

W1: Final = "w1"
CAST: Final = "cast"
WX: Final = "wx"

# The seed's words, its numbers.
STEPS: Final = (
    (1, W1, "Fetches public key X from the did:web document"),
    (2, W1, "Derives the subscribe topic: sha256 of key X"),
    (3, W1, "Generates key pair Y"),
    (4, W1, "Derives symmetric key S from X and Y"),
    (5, W1, "Sends the subscribe request on the subscribe topic"),
    (6, W1, "Derives the response topic: sha256 of key S"),
    (7, W1, "Subscribes to the response topic"),
    (8, CAST, "Receives the subscribe request"),
    (9, CAST, "Derives key S and opens the subscriptionAuth"),
    (10, CAST, "Tells the dapp's webhook of the new address"),
    (11, CAST, "Generates key pair Z"),
    (12, CAST, "Derives symmetric key P from Y and Z"),
    (13, CAST, "Answers on the response topic"),
    (14, W1, "Receives the answer on the response topic"),
    (15, W1, "Derives symmetric key P"),
    (16, W1, "Derives the notify topic: sha256 of key P"),
    (17, W1, "Subscribes to the notify topic"),
    (18, W1, "Syncs the subscription with the other devices"),
    (19, WX, "Stores the subscription"),
    (20, WX, "Subscribes to the notify topic"),
)
SENDS_TO: Final = {5: CAST, 13: W1, 18: WX}

FIRST_OF_WX: Final = 19

_STATE_WORDS: Final = {
    "resolving": ("Looking at the dapp's documents", "accent"),
    "requested": ("Waiting for the dapp's answer", "accent"),
    "settled": ("Subscribed; telling the other devices", "accent"),
    "synced": ("Subscribed and written to Sync", "ok"),
    "rejected": ("The dapp did not accept it", "danger"),
    "expired": ("The dapp did not answer in time", "danger"),
}


@dataclass(frozen=True, slots=True)
class Act:
    """Who carried a step out, when, and what others could see of it."""

    actor: str
    at: datetime
    wire: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class StepRow:
    number: int
    lane: str
    text: str
    state: str
    acts: list[Act]
    # Where what this step sends over the relay goes.
    sends_to: str = ""
    since_start_ms: float | None = None

    @property
    def lane_name(self) -> str:
        return {W1: "W1", CAST: "Cast Server", WX: "Wx"}[self.lane]


@dataclass(frozen=True, slots=True)
class AttemptPage:
    attempt: SubscribeAttempt
    name: str
    steps: list[StepRow]
    words: str
    tone: str

    @property
    def done(self) -> int:
        return sum(1 for step in self.steps if step.state == "done")

    @property
    def is_over(self) -> bool:
        return self.attempt.state in {"synced", "rejected", "expired"}

    @property
    def waits_for_a_device(self) -> bool:
        """W1 is through, and no other device has shown itself yet."""
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
    words, tone = _STATE_WORDS[attempt.state]
    if FIRST_OF_WX in recorded:
        words = "Subscribed and shared with the other devices"
    return AttemptPage(
        attempt=attempt,
        name=attempt.metadata.get("name") or name_of(attempt.dapp_url),
        steps=_rows(attempt, recorded),
        words=words,
        tone=tone,
    )


def name_of(dapp_url: str) -> str:
    """What the dapp calls itself, as far as anybody here knows before it was read."""
    documents = DappDocument.objects.filter(url=dapp_url).exclude(name="")
    projects = Project.objects.filter(url=dapp_url)
    found = (
        documents.values_list("name", flat=True).first()
        or projects.values_list("name", flat=True).first()
    )
    return found or dapp_url.partition("://")[2]


def _rows(
    attempt: SubscribeAttempt, recorded: Mapping[int, Sequence[StepRecord]]
) -> list[StepRow]:
    reached = max([attempt.last_step, *recorded])
    failed = attempt.state in {"rejected", "expired"}
    names = _device_names(attempt, recorded)
    rows = []
    for number, lane, text in STEPS:
        found = recorded.get(number, ())
        state = _state(number, reached, bool(found), failed=failed)
        since = (
            (found[0].at - attempt.created_at).total_seconds() * 1000 if found else None
        )
        rows.append(
            StepRow(
                number=number,
                lane=lane,
                text=text,
                state=state,
                acts=[
                    Act(_who(record, names), record.at, _wire_lines(record.wire))
                    for record in found
                ],
                sends_to=SENDS_TO.get(number, ""),
                since_start_ms=max(since, 0) if since is not None else None,
            )
        )
    return rows


def _device_names(
    attempt: SubscribeAttempt, recorded: Mapping[int, Sequence[StepRecord]]
) -> dict[str, str]:
    """Names by what step records call an actor: the id of a Wx, or "W1"."""
    keys = [each.actor_key for found in recorded.values() for each in found]
    devices = Device.objects.filter(pk__in=[key for key in keys if _is_uuid(key)])
    names = {str(device.pk): device.known_as for device in devices}
    if attempt.device:
        names["W1"] = attempt.device.known_as
    return names


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _who(record: StepRecord, names: Mapping[str, str]) -> str:
    name = names.get(record.actor_key or record.actor)
    return f"{name} ({record.actor})" if name else record.actor


def _state(number: int, reached: int, found: bool, *, failed: bool) -> str:  # noqa: FBT001
    if found or number <= reached:
        return "done"
    if number == reached + 1:
        return "failed" if failed else "next"
    return "waiting"


def _wire_lines(wire: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(name), _words(value)) for name, value in wire.items()]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_words(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(_words(each) for each in value)
    return str(value)


def latest_attempts(
    user_id: int, *, limit: int = 5, only_open: bool = False
) -> list[SubscribeAttempt]:
    found = SubscribeAttempt.objects.filter(account__user_id=user_id)
    if only_open:
        found = found.filter(state__in=["resolving", "requested"])
    return list(found.select_related("account").order_by("-created_at")[:limit])
