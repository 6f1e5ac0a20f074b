"""The admin has a working page for every table without keys."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse

from accounts.models import User

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
