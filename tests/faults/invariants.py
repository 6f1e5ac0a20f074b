"""What must hold after every fault: I1 to I8.

I1 nothing accepted is lost; I2 nothing happens twice; I3 both sides hold the same key P;
I4 every row of a queue has ended; I5 all devices agree; I6 no secret is in a log; I7 only
the processes that were to be restarted were; I8 one audit entry for each change.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.deployment import MAY_RESTART_WITH
from tests.faults.waiting import wait_for, wait_while_it_grows

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.faults.world import Dapp, World

# For what a slow machine has not yet worked off when the fault is over.
MAX_BACKLOG_S = 180.0


@dataclass
class Findings:
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def count(self, what: str, found: int, wanted: int = 1) -> None:
        if found < wanted:
            self.lost.append(f"{what}: {found} of {wanted}")
        if found > wanted:
            self.doubled.append(f"{what}: {found} instead of {wanted}")

    def require(self, what: str, *, holds: bool) -> None:
        if not holds:
            self.other.append(what)

    @property
    def all(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.other]


def check_subscription(world: World, dapp: Dapp, found: Findings) -> None:
    """One subscription of Alice at ``dapp``, complete on both sides."""
    from accounts.models import AuditEntry
    from castserver.models import Project, Subscriber
    from keychain.services import Holder, sym_keys
    from messaging.models import OutboxMessage
    from runlog import services as runlog
    from subscriptions.models import SubscribeAttempt, Subscription
    from syncstore.models import StoreEntry
    from walletconnect.notify.steps import Step

    rows = list(Subscription.objects.active().filter(dapp_url=dapp.url))
    subscribers = list(Subscriber.objects.filter(project_id=dapp.pk, deleted_at=None))
    found.count("I1 subscription", len(rows))
    found.count("I1 subscriber", len(subscribers))
    attempts = list(SubscribeAttempt.objects.filter(dapp_url=dapp.url))
    found.count("I2 attempt", len(attempts))
    topic_x = Project.objects.get(pk=dapp.pk).subscribe_topic
    requests = OutboxMessage.objects.filter(topic=topic_x, tag=4000)
    found.count("I2 request", requests.values("message_id").distinct().count())
    if len(rows) != 1 or len(subscribers) != 1:
        return
    topic = rows[0].topic
    found.require("I3 both sides have the topic", holds=subscribers[0].topic == topic)
    keys = [sym_keys(holder, [topic]) for holder in (Holder.WALLET, Holder.CAST)]
    found.require("I3 both sides have key P", holds=keys[0] == keys[1] != {})
    entries = StoreEntry.objects.filter(key=topic, is_deleted=False)
    found.count("I5 store entry", entries.count())
    run = attempts[0].response_topic
    wait_for(
        "all twenty steps",
        lambda: {each.step for each in runlog.of_run(run)} == set(Step),
    )
    for number, device in enumerate(world.devices, 1):
        seen = wait_for("a page", device.topics)
        found.require(f"I5 device {number} has the subscription", holds=topic in seen)
    added = AuditEntry.objects.filter(action="subscription.added", subject=dapp.url)
    found.count(f"I8 audit entry {list(added.values())}", added.count())
    wait_for("I1 the webhook", lambda: world.hooks(dapp))
    found.count("I2 webhook id", len({hook for hook, _ in world.hooks(dapp)}))


def check_notifications(world: World, dapp: Dapp, found: Findings) -> None:
    """Every title that the dapp has sent is in the inbox once, and acknowledged."""
    from castserver.models import Delivery
    from subscriptions.models import NotifyMessageRecord

    mine = Delivery.objects.filter(notification__project_id=dapp.pk)
    receipts = mine.exclude(receipt_at=None)
    wait_while_it_grows(
        f"receipts up to {dapp.titles[-1:]}",
        receipts.count,
        len(dapp.titles),
        limit_s=MAX_BACKLOG_S,
    )
    records = NotifyMessageRecord.objects.filter(subscription__dapp_url=dapp.url)
    titles = Counter(records.values_list("title", flat=True))
    for title in dapp.titles:
        found.count(f"I1 notification {title}", titles.pop(title, 0))
    found.require(f"I2 only these notifications: {titles}", holds=not titles)
    found.count("I2 delivery", mine.count(), len(dapp.titles))


def check_queues(found: Findings) -> None:
    """I4: every queue is empty, and nothing has been given up."""
    from messaging.models import InboxMessage, OutboxMessage
    from notifyweb.operations import queues

    rows = (OutboxMessage.objects, InboxMessage.objects)
    wait_for(
        "I4 every message is sent and handled",
        lambda: not any(each.filter(state="due").exists() for each in rows),
    )
    for letters in queues.dead_letters():
        reasons = [f"{group.count} {group.reason}" for group in letters.groups]
        found.require(f"I4 given up: {letters.queue} {reasons}", holds=not reasons)


def message_counts() -> list[str]:
    """Where messages are, for the report of a fault that lost some."""
    from django.db.models import Count

    from messaging.models import InboxMessage, OutboxMessage

    names = ("party", "tag", "state", "reason")
    return [
        f"{model.__name__} {[row[name] for name in names]}: {row['rows']}"
        for model in (OutboxMessage, InboxMessage)
        for row in model.objects.values(*names).annotate(rows=Count("pk")).order_by()
    ]


def check_log(text: str, secrets: Collection[str], found: Findings) -> None:
    """I6; also that no handler raised."""
    found.require(
        "I6 no secret in a log", holds=not any(secret in text for secret in secrets)
    )


def check_restarts(
    before: dict[str, int], after: dict[str, int], victims: Collection[str]
) -> list[str]:
    """I7: the names that were restarted without a reason."""
    expected = {name for victim in victims for name in MAY_RESTART_WITH.get(victim, ())}
    changed = {name for name, pid in before.items() if after.get(name) != pid}
    return sorted(changed - expected - set(victims))
