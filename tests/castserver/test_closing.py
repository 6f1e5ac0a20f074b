"""Closing a dapp."""

from __future__ import annotations

import pytest

from accounts.models import AuditEntry
from castserver.models import Project, Subscriber, Webhook
from castserver.services.errors import Missing
from castserver.services.projects.closing import close_project
from castserver.services.projects.projects import (
    create_project,
    find_secret,
)
from castserver.services.webhooks.webhooks import register_webhook
from common import clock
from keychain import services as keychain
from messaging.models import TopicSubscription
from tests.castserver.world import deliver, open_all


def test_closing_notifies_the_wallets_and_deletes_everything(
    project, secret, alice, bob
):
    register_webhook(project, "https://hooks.example.org", events=["unsubscribed"])
    subscriptions = [alice.subscribe(project), bob.subscribe(project)]
    project_id, topic = project.pk, project.subscribe_topic
    did = project.authentication_did
    close_project(project)
    for subscription in subscriptions:
        [deleted] = open_all(subscription.sym_key, 4004)
        assert deleted.method == "wc_notifyDelete"
    assert not Project.objects.filter(pk=project_id).exists()
    assert Subscriber.objects.count() == Webhook.objects.count() == 0
    assert not TopicSubscription.objects.filter(party="cast", state="wanted").exists()
    holder = keychain.Holder.CAST
    topics = [topic, *(each.topic for each in subscriptions)]
    assert keychain.sym_keys(holder, topics) == keychain.key_pairs(holder, topics) == {}
    assert keychain.signing_keys(holder, [did]) == {}
    with pytest.raises(Missing):
        find_secret(secret)
    assert AuditEntry.objects.filter(action="project.closed").exists()


def test_a_closed_dapp_answers_no_request(project, alice):
    made, _ = alice.request(project)
    close_project(project)
    [row] = deliver(made.publish)
    assert row.state == "refused"
    assert Subscriber.objects.count() == 0


def test_closing_leaves_other_dapps_alone(project, alice):
    other, _ = create_project("Other", url="https://other.example.org")
    alice.subscribe(project)
    alice.subscribe(other)
    close_project(project)
    assert Subscriber.objects.live(clock.now()).get().project == other


def test_a_secret_at_a_foreign_project_is_audited(project, secret):
    other, _ = create_project("Other", url="https://other.example.org")
    with pytest.raises(Missing):
        find_secret(secret, project_id=other.pk)
    assert AuditEntry.objects.filter(action="project.refused").count() == 1
