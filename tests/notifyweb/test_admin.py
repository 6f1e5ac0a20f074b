"""The admin has a working page for every table without keys."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse

from accounts.models import AuditEntry, User

OURS = (
    "accounts",
    "identity",
    "relay",
    "messaging",
    "runlog",
    "history",
    "syncstore",
    "subscriptions",
    "castserver",
)
# Django's admin supports no composite primary keys.
SEVERAL_COLUMNS = {"relay.MailboxCursor", "relay.Acknowledgement"}
MODELS = [model for label in OURS for model in apps.get_app_config(label).get_models()]


def test_every_model_without_keys_is_registered():
    absent = {each._meta.label for each in MODELS if not admin.site.is_registered(each)}
    assert absent == SEVERAL_COLUMNS


def test_no_model_with_keys_is_registered():
    for model in apps.get_app_config("keychain").get_models():
        assert not admin.site.is_registered(model)


@pytest.mark.django_db
def test_every_list_opens_in_a_few_queries(client, django_assert_max_num_queries):
    client.force_login(User.objects.create_superuser("root", password=None))
    for model in MODELS:
        if admin.site.is_registered(model):
            name = f"{model._meta.app_label}_{model._meta.model_name}"
            with django_assert_max_num_queries(12):
                page = client.get(reverse(f"admin:{name}_changelist"))
            assert page.status_code == 200, name


LOGIN = "/admin/login/"


@pytest.fixture
def root(db, redis_client):
    return User.objects.create_superuser("root", password="a long password")


def test_signing_in_is_audited(client, root):
    client.post(LOGIN, {"username": "root", "password": "wrong"})
    assert "_auth_user_id" not in client.session
    client.post(LOGIN, {"username": "root", "password": "a long password"})
    assert "_auth_user_id" in client.session
    rows = AuditEntry.objects.order_by("at").values_list("action", "actor", "subject")
    assert list(rows) == [("sign-in.failed", "", "root"), ("sign-in", "root", "")]


def test_one_client_has_to_wait_after_some_passwords(client, root):
    wrong = {"username": "root", "password": "wrong"}
    html = {"Accept": "text/html"}
    answers = [client.post(LOGIN, wrong, headers=html) for _ in range(11)]
    assert [each.status_code for each in answers] == [200] * 10 + [429]
    assert int(answers[-1]["Retry-After"]) > 0
    assert AuditEntry.objects.count() == 10


def test_one_user_name_has_to_wait_after_passwords_from_many_addresses(
    client, root, settings
):
    settings.TRUSTED_PROXIES = 1
    wrong = {"username": "root", "password": "wrong"}
    statuses = [
        client.post(
            LOGIN, wrong, headers={"X-Forwarded-For": f"192.0.2.{host}"}
        ).status_code
        for host in range(31)
    ]
    assert statuses == [200] * 30 + [429]
