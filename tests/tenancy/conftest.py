"""Alice with an object of every kind; Charlie, who signed in after her, with none of them.

``World.marks`` are texts and ids of Alice's that may be in no response to anybody else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from accounts.models import User
from alerts.services import digest, forwarding, preferences, webpush
from castserver.models import Project, Role
from castserver.services.notifications.notify import notify as send_notification
from castserver.services.projects import members, projects
from castserver.services.webhooks import webhooks
from common import clock
from common.limits import Bucket
from dashboard.models import FormSubmission, SavedFilter
from portability.models import PreparedImport
from portability.services.export import export_account
from subscriptions import services as subscriptions
from syncstore import services as syncstore
from tests.alerts.conftest import PushingBrowser
from tests.dashboard.conftest import (  # noqa: F401  # fixtures
    Browser,
    alice,
    dapp,
    known,
    notify,
    open_keychain,
    stranger,
    subscription,
)
from tests.dashboard.conftest import Person as Member
from tests.people import CHARLIE
from tests.tenancy.rows import Rows, all_rows
from walletconnect.notify.values import NotifyMessage

if TYPE_CHECKING:
    from alerts.models import Digest
    from castserver.models import (
        MessageTemplate,
        Notification,
        ProjectInvitation,
        ProjectMember,
        RecipientList,
        Webhook,
        WebhookDelivery,
    )
    from subscriptions.models import BlockedDapp, DomainCheck, NotifyMessageRecord
    from subscriptions.models import Subscription as Row

PASSPHRASE = "correct horse battery"
PATIENT = Bucket(1_000_000, 1000)


@dataclass
class World:
    """Alice's objects. ``rows`` are all rows that existed before anybody else came."""

    alice: Any
    message: NotifyMessageRecord
    subscription: Row
    blocked: BlockedDapp
    check: DomainCheck
    saved_filter: SavedFilter
    submission: FormSubmission
    prepared: PreparedImport
    forward: Any
    digest: Digest
    project: Project
    secret: str
    secret_pk: int
    webhook: Webhook
    delivery: WebhookDelivery
    sent: Notification
    job: PeriodicTask
    recipients: RecipientList
    template: MessageTemplate
    link_code: str
    member: ProjectMember
    invitation: ProjectInvitation
    rows: Rows = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)


@pytest.fixture(autouse=True)
def without_limits(settings, redis_client):
    names = [
        each.name
        for each in fields(settings.LIMITS)
        if isinstance(getattr(settings.LIMITS, each.name), Bucket)
    ]
    settings.LIMITS = replace(settings.LIMITS, **dict.fromkeys(names, PATIENT))
    settings.OUTBOUND_ALLOW = ["127.0.0.1", "localhost"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "mail.invalid"


@pytest.fixture
def world(alice, dapp, subscription, notify) -> World:  # noqa: F811
    account, user, device = alice.account, alice.user, alice.device
    alice.get("/settings")
    alice.post(f"/settings/accounts/{account.pk}", label="Zq9-account")
    alice.post(f"/devices/{device.pk}/rename", name="Zq9-device")
    message = notify(title="Zq9-title", body="Zq9-body")
    preferences.mute(account, subscription.dapp_url, "", "8h")
    blocked = account.blocked_dapps.create(
        dapp_url="https://blocked.example",
        name="Zq9-blocked",
        types=[],
        created_at=clock.now(),
    )
    alice.post("/inbox/filters", name="Zq9-filter", list=f"account={account.pk}")
    forward = forwarding.add_forward(user, "ntfy", "https://ntfy.example/Zq9-topic")
    webpush.save_subscription(
        device, PushingBrowser("https://push.example/Zq9-push").subscription
    )
    row = digest.save_digest(
        user, email="Zq9-mail@alice.example", frequency="daily", hour=8
    )
    upload = SimpleUploadedFile(
        "account.jsonl", b"".join(export_account(account, passphrase=PASSPHRASE))
    )
    alice.post("/settings/data/import", file=upload, passphrase=PASSPHRASE)
    alice.get("/console/project/new")
    # The name of a dapp is public, its address, its people and what it sends are not.
    alice.post("/console/project/new", name="Lumen", types="orders: Orders")
    project = Project.objects.get(owner=user)
    secret = projects.add_secret(project)
    webhook, _ = webhooks.register_webhook(
        project, "https://alice.example/Zq9-hook", events=["subscribed"]
    )
    sent = send_notification(
        project,
        NotifyMessage(type="orders", title="Zq9-sent", body="x"),
        [account.address],
        notification_id="Zq9-id",
    )
    every, _ = IntervalSchedule.objects.get_or_create(every=60, period="seconds")
    job = PeriodicTask.objects.create(
        name="messaging.sweep", task="messaging.sweep", interval=every
    )
    check = subscriptions.start_check(user, "https://checked.example/Zq9-check")
    submission, prepared = FormSubmission.objects.get(), PreparedImport.objects.get()
    delivery = webhooks.queue_test_event(webhook)
    recipients = project.recipient_lists.create(
        name="Zq9-list", size=0, created_at=clock.now()
    )
    template = project.templates.create(
        name="Zq9-template",
        type="orders",
        title="x",
        body="x",
        changed_at=clock.now(),
    )
    colleague = User.objects.create(username="wallet-colleague")
    member = project.members.create(
        user=colleague, role=Role.SENDER, added_at=clock.now()
    )
    invitation, _ = members.invite(
        project, by=user, role="viewer", days=7, label="Zq9-invited"
    )
    made = World(
        alice=alice,
        message=message,
        subscription=subscription,
        blocked=blocked,
        check=check,
        saved_filter=SavedFilter.objects.get(),
        submission=submission,
        prepared=prepared,
        forward=forward,
        digest=row,
        project=project,
        secret=secret,
        secret_pk=project.secrets.order_by("pk").first().pk,
        webhook=webhook,
        delivery=delivery,
        sent=project.notifications.get(pk=sent.notification_id),
        job=job,
        recipients=recipients,
        template=template,
        member=member,
        invitation=invitation,
        link_code=syncstore.code_of(syncstore.begin_link(account, device)),
    )
    made.rows = all_rows()
    named = (check, submission, prepared, forward, webhook, delivery, made.sent, device)
    named += (recipients, template, invitation)
    made.marks = {
        "Zq9-",
        account.address.rpartition(":")[2].lower(),
        subscription.topic,
        *(str(row.pk) for row in named),
    }
    return made


@pytest.fixture
def charlie(world):
    """Signed in after everything of Alice's was there; with a project of his own."""
    found = known(Member(CHARLIE, [Browser().sign_in(CHARLIE)]))
    found.get("/console/project/new")
    found.post("/console/project/new", name="Charlies", types="orders: Orders")
    return found


@pytest.fixture
def charlies_project(charlie):
    """The project and its secret."""
    project = Project.objects.get(owner=charlie.user)
    return project, projects.add_secret(project)


@pytest.fixture
def operator(world):
    """Staff, who owns nothing of Alice's."""
    found = known(Member(CHARLIE, [Browser().sign_in(CHARLIE)]))
    User.objects.filter(pk=found.user.pk).update(is_staff=True, is_superuser=True)
    return found
