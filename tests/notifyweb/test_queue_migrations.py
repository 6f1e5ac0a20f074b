"""Migration of pending work into the common work queue."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from castserver.services.projects.projects import create_project
from common import clock
from tests.people import sign_in_person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def migrate(redis_client):
    from keychain.services import ensure_canary

    ensure_canary()

    def to(*targets):
        executor = MigrationExecutor(connection)
        executor.migrate(list(targets))
        return MigrationExecutor(connection).loader.project_state(list(targets)).apps

    latest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    yield to
    to(*latest)


def test_pending_work_of_subscriptions_becomes_jobs(migrate):
    account = sign_in_person("alice").account
    old = migrate(("subscriptions", "0004_reading_documents_as_work_items"))
    now = clock.now()
    due = now - timedelta(minutes=1)
    values = {
        "account_id": account.pk,
        "metadata": {},
        "scope": {},
        "expiry": 0,
        "added_by": "sync",
        "created_at": now,
    }
    create = old.get_model("subscriptions", "Subscription").objects.create
    create(topic="a" * 64, history_due_at=due, history_attempts=3, **values)
    create(topic="b" * 64, history_reason="gone", reads_due_at=due, **values)
    create(topic="c" * 64, complete_due_at=due, **values)
    create(topic="d" * 64, **values)
    new = migrate(("subscriptions", "0005_jobs_of_subscriptions"))
    jobs = new.get_model("subscriptions", "SubscriptionJob").objects.values_list(
        "subscription__topic", "kind", "attempts", "next_attempt_at", "reason"
    )
    assert sorted((topic[0], *rest) for topic, *rest in jobs) == [
        ("a", "history", 3, due, ""),
        ("b", "history", 0, None, "gone"),
        ("b", "reads", 0, due, ""),
        ("c", "complete", 0, due, ""),
    ]


def test_finished_webhooks_are_not_sent_again(migrate):
    old = migrate(("castserver", "0004_types_have_ids_names_and_icons"))
    now = clock.now()
    get = old.get_model
    project = get("castserver", "Project").objects.create(
        id="p" * 32,
        name="p",
        slug="p",
        url="https://p.example",
        created_at=now,
        last_modified=now,
    )
    webhook = get("castserver", "Webhook").objects.create(
        project=project, url="https://h.example", events=[], created_at=now
    )
    for state in ("due", "delivered", "failed", "cancelled"):
        get("castserver", "WebhookDelivery").objects.create(
            webhook=webhook,
            event="test",
            state=state,
            next_attempt_at=now,
            created_at=now,
        )
    new = migrate(("castserver", "0005_webhooks_as_work_items"))
    rows = new.get_model("castserver", "WebhookDelivery").objects
    waiting = rows.exclude(next_attempt_at=None).values_list("state", flat=True)
    assert list(waiting) == ["due"]


def test_due_deliveries_become_chunks(migrate):
    project, _ = create_project("Dapp", url="https://dapp.example.org", types=[])
    old = migrate(("castserver", "0011_secrets_have_names_and_scopes"))
    now = clock.now()
    subscribers = [
        old.get_model("castserver", "Subscriber").objects.create(
            project_id=project.pk,
            account=f"eip155:1:0x{number:040x}",
            account_key=f"eip155:0x{number:040x}",
            topic=f"{number:064x}",
            scope=[],
            app=project.url,
            expires_at=now,
            last_iat=0,
            last_word_at=now,
            created_at=now,
        )
        for number in range(5)
    ]
    notification = old.get_model("castserver", "Notification").objects.create(
        project_id=project.pk, title="t", body="b", type="news", created_at=now
    )
    delivery = old.get_model("castserver", "Delivery")
    for number, subscriber in enumerate(subscribers):
        delivery.objects.create(
            id=uuid.uuid4(),
            notification=notification,
            subscriber=subscriber,
            rpc_id=number,
            created_at=now,
            sent_at=None if number else now,
        )
    new = migrate(("castserver", "0012_due_deliveries_in_chunks"))
    [chunk] = new.get_model("castserver", "DueDeliveries").objects.all()
    assert chunk.notification_id == notification.pk
    assert sorted(chunk.subscribers) == [each.pk for each in subscribers[1:]]
    assert new.get_model("castserver", "Delivery").objects.count() == 1
