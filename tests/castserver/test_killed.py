"""Killed at the worst moments: all of it happened, or nothing, and the next run finishes.

A process of its own, with one
failpoint armed, does the work and dies there as by a power cut.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection

from castserver.models import (
    Delivery,
    Notification,
    Subscriber,
    WebhookAttempt,
    WebhookDelivery,
)
from castserver.services.notifications.broadcast import (
    EVERYONE,
    Schedule,
    broadcast_to,
    send_due_broadcasts,
)
from castserver.services.webhooks.sender import deliver_due_webhooks
from castserver.services.webhooks.webhooks import queue_events, register_webhook
from common import clock
from messaging import services as messaging
from messaging.models import InboxClaim
from tests.castserver.receiver import Receiver
from tests.castserver.test_webhooks import event
from tests.castserver.world import counts, deliver, open_last, sent
from walletconnect.notify.subscribe import settle_subscription
from walletconnect.notify.values import NotifyMessage
from walletconnect.relay.rpc import parse

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]

SETUP = "import django; django.setup(); "
HANDLE = SETUP + "from messaging.services import handle_due; handle_due(20.0)"
DELIVER = (
    SETUP + "from castserver.services.webhooks.sender import deliver_due_webhooks; "
    "deliver_due_webhooks()"
)
BROADCAST = (
    SETUP + "from castserver.services.notifications.broadcast import "
    "send_due_broadcasts; send_due_broadcasts()"
)


def killed_at(settings, failpoint, *arguments):
    """Run a process that dies at ``failpoint``."""
    database = connection.settings_dict
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "notifyweb.settings",
        "DATABASE_URL": f"postgres://{database['USER']}@/{database['NAME']}"
        f"?host={database['HOST']}",
        "REDIS_URL": settings.REDIS_URL,
        "SECRET_KEY": settings.SECRET_KEY,
        "KEYCHAIN_KEYS": ",".join(settings.KEYCHAIN_KEYS),
        "NOTIFYWEB_FAILPOINTS": failpoint,
        "NOTIFYWEB_DEMO": "1",
        "NOTIFYWEB_OUTBOUND_ALLOW": "127.0.0.1",
    }
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.parametrize(
    "failpoint",
    [
        "subscribe.12.before_rows",
        "outbox.before_commit",
        "subscribe.13.before_commit",
        "inbox.before_commit",
    ],
)
def test_a_subscribe_is_all_or_nothing(project, alice, settings, failpoint):
    register_webhook(project, "https://hooks.example.org", events=["subscribed"])
    made, key_pair_y = alice.request(project)
    deliver(made.publish, handle=False)
    before = counts()
    killed_at(settings, failpoint, "-c", HANDLE)
    assert counts() == before
    assert sent() == []
    InboxClaim.objects.update(leased_until=clock.now() - timedelta(seconds=1))
    assert messaging.handle_due(20.0) is False
    assert Subscriber.objects.count() == WebhookDelivery.objects.count() == 1
    assert len(sent(made.response_topic)) == 1
    answer = parse(open_last(made.sym_key_s))
    settle_subscription(made.pending, answer, key_pair_y=key_pair_y, now=clock.now_s())


def test_after_the_commit_nothing_is_done_twice(project, alice, settings):
    made, _ = alice.request(project)
    deliver(made.publish, handle=False)
    killed_at(settings, "inbox.after_commit", "-c", HANDLE)
    assert Subscriber.objects.count() == 1
    InboxClaim.objects.update(leased_until=clock.now() - timedelta(seconds=1))
    assert messaging.handle_due(20.0) is False
    assert Subscriber.objects.count() == 1
    assert len(sent(made.response_topic)) == 1


@pytest.mark.parametrize("failpoint", ["notify.before_commit", "outbox.before_commit"])
def test_a_notification_is_sent_or_was_never_made(project, alice, settings, failpoint):
    alice.subscribe(project)
    options = ["--type", "alerts", "--title", "t", "--body", "b"]
    killed_at(settings, failpoint, "manage.py", "notify", project.pk, *options)
    assert Notification.objects.count() == Delivery.objects.count() == 0
    assert sent(tag=4002) == []


@pytest.mark.parametrize(
    ("failpoint", "already_sent"),
    [("webhooks.after_claim", 0), ("webhooks.before_record", 1)],
)
def test_an_event_is_sent_again_under_its_own_id(
    project, settings, failpoint, already_sent
):
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with Receiver() as receiver:
        register_webhook(project, receiver.url, events=["subscribed"])
        [delivery] = queue_events([event(project)])
        killed_at(settings, failpoint, "-c", DELIVER)
        assert len(receiver.received) == already_sent
        assert WebhookAttempt.objects.count() == 0
        # The lease ended with the database session of the process that died.
        assert deliver_due_webhooks() == 1
        ids = {each.headers["webhook-id"] for each in receiver.received}
        assert ids == {str(delivery.pk)}
    delivery.refresh_from_db()
    assert delivery.state == "delivered"


def test_a_scheduled_notification_survives_its_sender(project, alice, settings):
    """Killed after the messages are built, before the commit: the next run sends it once."""
    alice.subscribe(project)
    message = NotifyMessage(type="alerts", title="t", body="b")
    due = Schedule(clock.now() + timedelta(milliseconds=1))
    broadcast_to(project, message, EVERYONE, schedule=due)
    killed_at(settings, "broadcast.before_commit", "-c", BROADCAST)
    assert Delivery.objects.count() == 0
    assert sent(tag=4002) == []
    while send_due_broadcasts():
        pass
    assert send_due_broadcasts() == 0
    assert Delivery.objects.count() == len(sent(tag=4002)) == 1
