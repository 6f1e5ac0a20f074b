"""The admin shows people and keys, changes next to nothing, and never a secret."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse

from accounts.models import AuditEntry, Device, User
from identity.models import IdentityUnregistration
from tests.people import ALICE, sign_in

pytestmark = pytest.mark.django_db

OURS = [
    model
    for label in ("accounts", "identity")
    for model in apps.get_app_config(label).get_models()
    if admin.site.is_registered(model)
]
PASSWORD = "a long password for staff"


@pytest.fixture
def staff(client):
    User.objects.create_superuser("staff", password=PASSWORD)
    client.login(username="staff", password=PASSWORD)
    return client


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_every_list_and_row_opens_without_a_secret(staff, model, settings):
    device = sign_in(ALICE)
    settings.KEYS_SERVER_IS_OURS = False
    sign_in(ALICE)
    second = Device.objects.latest("created_at")
    from accounts.services import revoke_device

    revoke_device(second, by=None)
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    pages = [staff.get(reverse(f"{name}_changelist"))]
    for row in model._default_manager.all()[:3]:
        pages.append(staff.get(reverse(f"{name}_change", args=[row.pk])))
    secrets = [device.session_digest, device.session]
    secrets += IdentityUnregistration.objects.values_list("id_auth", flat=True)
    for page in pages:
        assert page.status_code == 200
        text = page.content.decode()
        assert not any(secret in text for secret in secrets if secret)


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_protocol_rows_cannot_be_added_changed_or_deleted(staff, model):
    if model is User:
        return
    sign_in(ALICE)
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    assert staff.get(reverse(f"{name}_add")).status_code == 403
    for row in model._default_manager.all()[:1]:
        change = reverse(f"{name}_change", args=[row.pk])
        assert staff.post(change, {}).status_code == 403
        assert staff.post(reverse(f"{name}_delete", args=[row.pk])).status_code == 403


def test_a_device_is_signed_out_from_the_admin(staff):
    device = sign_in(ALICE)
    staff.post(
        reverse("admin:accounts_device_changelist"),
        {"action": "sign_out", "_selected_action": [str(device.pk)]},
    )
    device.refresh_from_db()
    assert not device.is_active()


def test_admin_acts_are_in_the_audit_log(staff):
    staff.post(
        reverse("admin:accounts_user_add"),
        {
            "username": "colleague",
            "password1": PASSWORD,
            "password2": PASSWORD,
            "usable_password": "true",
        },
    )
    entry = AuditEntry.objects.get(action="admin.act")
    assert entry.actor == "staff"
    assert PASSWORD not in entry.detail
