"""A process dies at the worst moment of a run: nothing is lost, nothing happens twice.

First a real worker with one failpoint armed, killed there as by a power cut: its leases
run out, another worker goes on, and the run ends as if nothing had been. Then any process
of a whole system, killed from outside while a person subscribes.
"""

from __future__ import annotations

import json
import os
import secrets
from datetime import timedelta

import httpx
import pytest

from castserver.models import Subscriber
from common import clock
from keychain.services import Holder, sym_keys
from messaging.models import InboxClaim, InboxMessage, OutboxMessage
from subscriptions.models import (
    NotifyMessageRecord,
    SubscribeAttempt,
    Subscription,
    SubscriptionJob,
)
from syncstore.models import ColdStart, StoreEntry
from tests.browser_device import BrowserDevice
from tests.browser_device import wait_for as look_for
from tests.messaging.conftest import wait_for
from tests.protocol.conftest import notify, until
from tests.protocol.test_twenty_steps import finish, start
from walletconnect.crypto.ethereum import address_of

pytestmark = pytest.mark.system

# A worker takes its time to start, so a usual run kills at the moments that matter most;
# NOTIFYWEB_TEST_ALL_KILLS=1 kills at all of them.
MOMENTS = ["subscribe.05.before_commit", "subscribe.18.before_commit"]
REPLAY_MOMENTS = ["cold_start.apply.before_commit"]
if os.environ.get("NOTIFYWEB_TEST_ALL_KILLS"):
    MOMENTS += [
        "subscribe.01.after_fetch",
        "outbox.before_commit",
        "subscribe.14.before_commit",
        "sync.apply.before_commit",
        "inbox.before_commit",
        "inbox.after_commit",
    ]
    REPLAY_MOMENTS += ["cold_start.after_fetch"]


@pytest.fixture
def start_worker(start_program):
    def begin(failpoint: str):
        return start_program(
            "-c",
            "from celery.__main__ import main; main()",
            "-A",
            "notifyweb",
            "worker",
            "--concurrency=1",
            NOTIFYWEB_FAILPOINTS=failpoint,
            # The dapp of these tests lives on a port of this machine.
            NOTIFYWEB_OUTBOUND_ALLOW="localhost",
        )

    return begin


def let_leases_run_out() -> None:
    """What a kill has voided already; and what was put off for another reason."""
    past = clock.now() - timedelta(seconds=1)
    for model in (
        InboxClaim,
        InboxMessage,
        SubscribeAttempt,
        ColdStart,
        SubscriptionJob,
    ):
        model.objects.filter(leased_until__isnull=False).update(leased_until=past)
    for model in (SubscribeAttempt, ColdStart, SubscriptionJob):
        model.objects.exclude(next_attempt_at=None).update(next_attempt_at=past)


def kill_at(worker) -> None:
    wait_for(lambda: "SIGKILL" in worker.log.read_text(), seconds=90, what="the kill")
    worker.kill()
    let_leases_run_out()


def both_sides_agree(project, alice) -> None:
    """The invariants after every fault."""
    row = Subscription.objects.get()
    assert Subscriber.objects.get().topic == row.topic
    assert (
        sym_keys(Holder.WALLET, [row.topic])[row.topic]
        == sym_keys(Holder.CAST, [row.topic])[row.topic]
    )
    assert StoreEntry.objects.get().key == row.topic
    until(
        lambda: not OutboxMessage.objects.filter(state="due").exists(),
        what="every message on its way",
    )
    assert not OutboxMessage.objects.filter(state="failed").exists()
    assert not InboxMessage.objects.filter(state="failed").exists()
    notify(project, alice)
    until(NotifyMessageRecord.objects.exists, what="a notification")


def rebuilt(alice) -> None:
    until(
        lambda: ColdStart.objects.get(account=alice.account).state == "done",
        what="the cold start",
    )


@pytest.mark.parametrize("failpoint", MOMENTS)
def test_a_run_survives_a_kill_at(failpoint, network, project, alice, start_worker):
    rebuilt(alice)
    worker = start_worker(failpoint)
    attempt = start(alice, project)
    kill_at(worker)
    finish(attempt)
    assert len(OutboxMessage.objects.filter(tag=4000)) == 1, "one request"
    both_sides_agree(project, alice)


def test_a_notification_survives_a_kill(network, project, alice, start_worker):
    rebuilt(alice)
    finish(start(alice, project))
    worker = start_worker("message.before_commit")
    notify(project, alice, "once")
    kill_at(worker)
    until(NotifyMessageRecord.objects.exists, what="the notification")
    titles = NotifyMessageRecord.objects.values_list("title", flat=True)
    assert list(titles) == ["once"]


@pytest.mark.parametrize("failpoint", REPLAY_MOMENTS)
def test_a_cold_start_survives_a_kill(failpoint, network, project, alice, start_worker):
    from syncstore.services import restart_cold_start

    rebuilt(alice)
    row = finish(start(alice, project))
    until(
        lambda: not OutboxMessage.objects.filter(state="due").exists(),
        what="the store's update on its way",
    )
    worker = start_worker(failpoint)
    restart_cold_start(alice.account)
    kill_at(worker)
    rebuilt(alice)
    assert StoreEntry.objects.get().key == row.topic
    assert Subscription.objects.active().count() == 1


# --- any process of a whole system ----------------------------------------------------


class CastApi:
    """What the owner of a dapp does over REST."""

    def __init__(self, system) -> None:
        made = system.manage("create_project", "Killed", "--type", "a:A", "--json")
        project = json.loads(made.stdout)
        self.dapp_url = project["url"]
        self.http = httpx.Client(
            base_url=f"{system.base_url}/cast/{project['project_id']}",
            headers={"Authorization": f"Bearer {project['project_secret']}"},
            timeout=30,
        )

    def subscribers(self) -> list[str]:
        return self.http.get("/subscribers").raise_for_status().json()

    def notify(self, account: str, title: str) -> list[str]:
        notification = {"type": "a", "title": title, "body": "It still works"}
        call = {"notification": notification, "accounts": [account]}
        return self.http.post("/notify", json=call).raise_for_status().json()["sent"]


@pytest.fixture(scope="module")
def cast_api(system):
    api = CastApi(system)
    with api.http:
        yield api


@pytest.mark.parametrize("name", ["relay", "gateway", "worker", "web"])
def test_a_subscription_completes_once_although_a_process_is_killed(
    system, cast_api, name
):
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    with BrowserDevice(system.base_url, account, key) as device:
        device.sign_in()
        device.subscribe(cast_api.dapp_url, ["a"])
        old = system.kill(name)
        system.wait_until_back(name, old)
        look_for("the subscription", device.topics)

        (topic,) = device.topics()
        assert cast_api.subscribers().count(account) == 1
        assert cast_api.notify(account, f"After {name}") == [account]
        look_for("the message", lambda: f"After {name}" in device.inbox())
        assert device.topics() == {topic}
