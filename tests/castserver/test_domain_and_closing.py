"""Checking a dapp's own domain, and closing a dapp."""

from __future__ import annotations

import json

import pytest

from accounts.models import AuditEntry
from castserver.models import Project, Subscriber, Webhook
from castserver.services.errors import Missing
from castserver.services.projects.closing import close_project
from castserver.services.projects.documents import did_document, notify_config
from castserver.services.projects.domain import check_domain
from castserver.services.projects.projects import (
    create_project,
    project_of_secret,
    set_url,
)
from castserver.services.webhooks.webhooks import register_webhook
from common import clock
from keychain import services as keychain
from messaging.models import TopicSubscription
from tests.castserver.receiver import Receiver
from tests.castserver.world import deliver, open_all

FOLDER = "/.well-known"


@pytest.fixture
def site(project, settings):
    """A web server of the dapp's own that serves what it should."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with Receiver() as found:
        set_url(project, found.origin)
        found.headers = {"Access-Control-Allow-Origin": "*"}
        found.files = {
            f"{FOLDER}/did.json": json.dumps(did_document(project)).encode(),
            f"{FOLDER}/wc-notify-config.json": json.dumps(
                notify_config(project, project.types.all())
            ).encode(),
        }
        yield found


def wrong(project):
    return [each.text for each in check_domain(project) if not each.ok]


def test_a_domain_that_serves_both_files_is_fine(project, site):
    findings = check_domain(project)
    assert wrong(project) == []
    assert {each.file for each in findings} == {"did.json", "wc-notify-config.json"}
    assert len(findings) == 8


def test_each_fault_is_named(project, site):
    other, _ = create_project("Other", url="https://other.example.org")
    did = did_document(project)
    path = f"{FOLDER}/did.json"
    site.files[path] = json.dumps(did_document(other)).encode()
    assert len(wrong(project)) == 3
    did["verificationMethod"].reverse()
    site.files[path] = json.dumps(did).encode()
    # Later clients go by the references, the first ones by position.
    assert wrong(project) == [
        "verificationMethod[0] holds our X25519 key",
        "verificationMethod[1] holds our Ed25519 key",
    ]
    site.files[path] = b"<html>"
    assert "no JSON object" in wrong(project)[0]
    del site.files[path]
    assert "answers 404" in wrong(project)[0]


def test_types_that_lack_are_named(project, site):
    site.files[f"{FOLDER}/wc-notify-config.json"] = json.dumps(
        notify_config(project, project.types.filter(type_id="alerts"))
    ).encode()
    assert wrong(project) == ["types lacks gm_hourly, news"]


def test_a_missing_cors_header_is_named(project, site):
    site.headers = {}
    assert len(wrong(project)) == 2


@pytest.mark.parametrize(
    "document",
    [b"[]", b"{}", b'{"verificationMethod": 5}', b'{"verificationMethod": [5, null]}'],
)
def test_rubbish_is_wrong_and_nothing_worse(project, site, document):
    site.files[f"{FOLDER}/did.json"] = document
    assert wrong(project)


def test_a_domain_that_is_away_is_said(project, settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    set_url(project, "http://127.0.0.1:1")
    assert len(wrong(project)) == 2


# --- closing --------------------------------------------------------------------------


def test_closing_tells_the_wallets_and_leaves_nothing(project, secret, alice, bob):
    register_webhook(project, "https://hooks.example.org", events=["unsubscribed"])
    subscriptions = [alice.subscribe(project), bob.subscribe(project)]
    project_id, topic = project.pk, project.subscribe_topic
    did = project.authentication_did
    close_project(project)
    for subscription in subscriptions:
        [farewell] = open_all(subscription.sym_key, 4004)
        assert farewell.method == "wc_notifyDelete"
    assert not Project.objects.filter(pk=project_id).exists()
    assert Subscriber.objects.count() == Webhook.objects.count() == 0
    assert not TopicSubscription.objects.filter(party="cast", state="wanted").exists()
    holder = keychain.Holder.CAST
    topics = [topic, *(each.topic for each in subscriptions)]
    assert keychain.sym_keys(holder, topics) == keychain.key_pairs(holder, topics) == {}
    assert keychain.signing_keys(holder, [did]) == {}
    with pytest.raises(Missing):
        project_of_secret(secret)
    assert AuditEntry.objects.filter(action="project.closed").exists()


def test_a_closed_dapp_answers_nobody(project, alice):
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
        project_of_secret(secret, project_id=other.pk)
    assert AuditEntry.objects.filter(action="project.refused").count() == 1
