"""The twenty steps of subscribe: where each process can be killed, before and after.

A place is a failpoint, with the tag of the messages or the number of the step at hand if
it is shared. ``kill``: the process that comes there dies. ``hold``: it stands still there
while another process is killed. One place stands for several steps where these are one
transaction: what is killed within it happened before all of them or after none.
"""

from __future__ import annotations

from dataclasses import dataclass

BEFORE = "before"
AFTER = "after"


@dataclass(frozen=True, slots=True)
class StepFault:
    """``victim`` dies before or after ``steps``, when ``place`` is reached."""

    steps: tuple[int, ...]
    victim: str
    moment: str
    place: str
    action: str = "kill"
    # What Alice does to get there: "subscribe", or a "notification" of her dapp.
    by: str = "subscribe"

    @property
    def name(self) -> str:
        steps = ",".join(str(step) for step in self.steps) or self.by
        return f"{steps} {self.moment} {self.victim} at {self.place}"


def _fault(steps: object, victim: str, moment: str, place: str, **more: str):
    numbers = (steps,) if isinstance(steps, int) else tuple(steps)
    return StepFault(numbers, victim, moment, place, **more)


def _both(steps: object, victim: str, before: str, after: str, **more: str):
    return [
        _fault(steps, victim, BEFORE, before, **more),
        _fault(steps, victim, AFTER, after, **more),
    ]


# The request is 4000, its answer 4001, a notification 4002, its receipt 4003, Sync 5000.
SUBSCRIBE = [
    *_both(1, "web", "subscribe.start.before_commit", "subscribe.start.after_commit"),
    *_both(1, "outbound", "subscribe.01.after_claim", "subscribe.01.after_fetch"),
    *_both(
        (2, 3, 4, 5),
        "outbound",
        "subscribe.05.before_commit",
        "subscribe.05.after_commit",
    ),
    *_both(
        (3, 5),
        "postgres",
        "subscribe.05.before_commit",
        "subscribe.05.after_commit",
        action="hold",
    ),
    *_both(
        5,
        "redis",
        "subscribe.05.before_commit",
        "subscribe.05.after_commit",
        action="hold",
    ),
    *_both(5, "relay", "relay.tick.before_commit:4000", "relay.tick.after_commit:4000"),
    *_both(
        5,
        "gateway",
        "gateway.outbox.before_publish:4000",
        "gateway.outbox.before_mark:4000",
    ),
    _fault(5, "gateway", AFTER, "gateway.outbox.after_mark:4000"),
    *_both(
        (6, 7),
        "gateway",
        "gateway.topics.before_confirm:7",
        "gateway.topics.after_confirm:7",
    ),
    *_both(
        (6, 7),
        "relay",
        "gateway.topics.before_confirm:7",
        "gateway.topics.after_confirm:7",
        action="hold",
    ),
    *_both(
        8,
        "gateway",
        "gateway.inbox.before_commit:4000",
        "gateway.inbox.after_commit:4000",
    ),
    *_both(
        8,
        "relay",
        "gateway.inbox.before_commit:4000",
        "gateway.inbox.after_commit:4000",
        action="hold",
    ),
    *_both(
        (8, 9), "worker child", "inbox.after_claim:4000", "subscribe.12.before_rows"
    ),
    *_both(
        8,
        "worker",
        "inbox.after_claim:4000",
        "subscribe.12.before_rows",
        action="hold",
    ),
    *_both(10, "outbound", "webhooks.after_claim", "webhooks.before_record"),
    *_both(
        10, "beat", "subscribe.13.before_commit", "webhooks.after_claim", action="hold"
    ),
    *_both(
        (11, 12, 13),
        "worker child",
        "subscribe.13.before_commit",
        "inbox.after_commit:4000",
    ),
    *_both(
        (11, 12),
        "postgres",
        "subscribe.13.before_commit",
        "inbox.after_commit:4000",
        action="hold",
    ),
    *_both(
        13, "relay", "relay.tick.before_commit:4001", "relay.tick.after_commit:4001"
    ),
    *_both(
        14,
        "gateway",
        "gateway.inbox.before_commit:4001",
        "gateway.inbox.after_commit:4001",
    ),
    *_both(
        14,
        "web",
        "subscribe.14.before_commit",
        "inbox.after_commit:4001",
        action="hold",
    ),
    *_both(
        (15, 16, 18, 19),
        "worker child",
        "subscribe.14.before_commit",
        "inbox.after_commit:4001",
    ),
    _fault(18, "worker child", BEFORE, "subscribe.18.before_commit"),
    *_both(
        (15, 16),
        "gateway",
        "subscribe.14.before_commit",
        "inbox.after_commit:4001",
        action="hold",
    ),
    *_both(
        (15, 16),
        "postgres",
        "subscribe.14.before_commit",
        "inbox.after_commit:4001",
        action="hold",
    ),
    *_both(
        17,
        "gateway",
        "gateway.topics.before_confirm:17",
        "gateway.topics.after_confirm:17",
    ),
    *_both(
        17,
        "relay",
        "gateway.topics.before_confirm:17",
        "gateway.topics.after_confirm:17",
        action="hold",
    ),
    *_both(
        18, "relay", "relay.tick.before_commit:5000", "relay.tick.after_commit:5000"
    ),
    *_both(
        (18, 19),
        "gateway",
        "gateway.outbox.before_publish:5000",
        "gateway.outbox.before_mark:5000",
    ),
    *_both(
        20,
        "gateway",
        "gateway.topics.before_confirm:20",
        "gateway.topics.after_confirm:20",
    ),
]

NOTIFICATION = [
    *_both((), "web", "notify.before_commit", "outbox.before_commit"),
    *_both(
        (),
        "gateway",
        "gateway.outbox.before_publish:4002",
        "gateway.outbox.before_mark:4002",
    ),
    *_both(
        (), "relay", "relay.tick.before_commit:4002", "relay.tick.after_commit:4002"
    ),
    *_both(
        (),
        "gateway",
        "gateway.inbox.before_commit:4002",
        "gateway.inbox.after_commit:4002",
    ),
    *_both((), "worker child", "message.before_commit", "inbox.after_commit:4002"),
    *_both(
        (),
        "postgres",
        "message.before_commit",
        "inbox.after_commit:4002",
        action="hold",
    ),
    *_both(
        (), "redis", "message.before_commit", "inbox.after_commit:4002", action="hold"
    ),
    *_both(
        (), "relay", "relay.tick.before_commit:4003", "relay.tick.after_commit:4003"
    ),
]
NOTIFICATION = [
    StepFault(
        each.steps, each.victim, each.moment, each.place, each.action, "notification"
    )
    for each in NOTIFICATION
]

STEP_FAULTS = [*SUBSCRIBE, *NOTIFICATION]
