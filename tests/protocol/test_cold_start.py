"""An account comes to a server that knows nothing of it: everything from the network.

The wallet side's server loses its disk between two sign-ins: rows, keys, its client id at
the relay. Relay, History and Cast Server go on. What the account had comes back from the
signature alone.
"""

from __future__ import annotations

import pytest

from accounts.services import remove_account
from castserver.models import Delivery
from common import clock
from keychain.models import KeyPairEntry, SigningKeyEntry, SymKeyEntry
from messaging.models import (
    InboxMessage,
    OutboxMessage,
    Party,
    PartyClient,
    TopicSubscription,
)
from relayserver.models import PublishedMessage
from runlog.models import StepRecord
from subscriptions import services as wallet
from subscriptions.models import DappDocument, NotifyMessageRecord, Subscription
from syncstore import services as sync
from syncstore.models import ColdStart, Store, StoreEntry
from tests.people import sign_in_person
from tests.protocol.conftest import BOTH, notify, until
from tests.protocol.test_twenty_steps import finish, start, subscribed

TITLES = ["first", "second", "third"]


def titles() -> list[str]:
    records = NotifyMessageRecord.objects.order_by("published_at", "rpc_id")
    return list(records.values_list("title", flat=True))


def with_three_messages(alice, project) -> Subscription:
    row = subscribed(alice, project)
    for title in TITLES:
        notify(project, alice, title)
    until(lambda: len(titles()) == 3, what="the notifications")
    until(
        lambda: not OutboxMessage.objects.filter(state="due").exists(),
        what="everything on its way",
    )
    return row


def lose_the_disk(person) -> None:
    """The wallet side loses all rows; no server is notified."""
    wallet_rows = {"party": Party.WALLET}
    TopicSubscription.objects.filter(**wallet_rows).delete()
    InboxMessage.objects.filter(**wallet_rows).delete()
    OutboxMessage.objects.filter(**wallet_rows).delete()
    client = PartyClient.objects.get(**wallet_rows)
    SigningKeyEntry.objects.filter(did=client.did).delete()
    client.delete()
    StepRecord.objects.all().delete()
    remove_account(person.account, by=None)
    for model in (TopicSubscription, OutboxMessage):
        model.objects.filter(**wallet_rows).delete()
    for model in (SymKeyEntry, KeyPairEntry):
        model.objects.filter(holder="wallet").delete()
    DappDocument.objects.all().delete()
    assert not Store.objects.exists()
    assert not Subscription.objects.exists()


def come_back(person):
    """The same wallet signs in anew and signs the sync message."""
    again = sign_in_person("alice", devices=1)
    sync.enable_sync(again.account, again.sync_signature, again.device)
    until(
        lambda: ColdStart.objects.get(account=again.account).state == "done",
        what="the replay",
    )
    return again


def archive_only() -> None:
    """Let every mailbox time be over: only the archive still has the messages."""
    PublishedMessage.objects.update(expires_at=clock.now_ms() - 1)


@pytest.fixture
def gateways(project, local_relay, start_gateway):
    """The relay, and gateways that a test stops and starts."""

    def begin():
        return start_gateway(local_relay, BOTH)

    return begin


def test_the_account_is_rebuilt_from_the_archive(gateways, project, alice):
    gateway = gateways()
    before = with_three_messages(alice, project)
    gateway.stop()
    lose_the_disk(alice)
    archive_only()
    gateways()
    come_back(alice)
    row = until(Subscription.objects.active().first, what="the subscription")
    assert (row.topic, row.scope) == (before.topic, before.scope)
    assert row.added_by == "history"
    until(lambda: titles() == TITLES, what="the notifications in their order")
    job = row.jobs.get(kind="history")
    assert (job.next_attempt_at, job.reason) == (None, "")


def test_it_goes_on_live_after_the_replay(gateways, project, alice):
    gateway = gateways()
    with_three_messages(alice, project)
    gateway.stop()
    lose_the_disk(alice)
    archive_only()
    gateways()
    again = come_back(alice)
    until(lambda: titles() == TITLES, what="the replay")
    notify(project, again, "live")
    until(lambda: "live" in titles(), what="a new notification")
    record = NotifyMessageRecord.objects.get(title="live")
    until(
        lambda: (
            Delivery.objects.filter(rpc_id=record.rpc_id)
            .exclude(receipt_at=None)
            .exists()
        ),
        what="its receipt",
    )


def test_mailbox_and_archive_together_give_everything_once(gateways, project, alice):
    gateway = gateways()
    with_three_messages(alice, project)
    gateway.stop()
    lose_the_disk(alice)
    gateways()
    come_back(alice)
    until(lambda: titles() == TITLES, what="the notifications, each once")
    assert Subscription.objects.active().count() == 1


def test_what_was_left_stays_left(gateways, project, alice):
    gateway = gateways()
    row = with_three_messages(alice, project)
    wallet.delete_subscription(row, alice.device)
    second = finish(start(alice, project))
    until(
        lambda: not OutboxMessage.objects.filter(state="due").exists(),
        what="everything on its way",
    )
    gateway.stop()
    lose_the_disk(alice)
    gateways()
    come_back(alice)
    active = until(
        lambda: list(Subscription.objects.active().values_list("topic", flat=True)),
        what="the second subscription",
    )
    assert active == [second.topic]
    assert StoreEntry.objects.get(key=row.topic).is_deleted
