"""The admin has a working page for every table without keys."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse

from accounts.admin import ReadOnlyAdmin
from accounts.models import Account, AuditEntry, User
from common import clock

OURS = (
    "accounts",
    "identity",
    "relay",
    "messaging",
    "runlog",
    "history",
    "syncstore",
    "preferences",
    "subscriptions",
    "castserver",
    "alerts",
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


READ_ONLY = [
    model
    for model in MODELS
    if isinstance(admin.site._registry.get(model), ReadOnlyAdmin)
]


@pytest.fixture
def superuser(rf, db):
    request = rf.get("/admin/")
    request.user = User.objects.create_superuser("root", password=None)
    return request


def test_every_list_can_be_searched_and_filtered_by_its_states(superuser):
    for model in READ_ONLY:
        page = admin.site._registry[model]
        assert page.get_search_fields(superuser), model
        filters = page.get_list_filter(superuser)
        states = [f.name for f in model._meta.concrete_fields if f.choices]
        assert page.list_filter or set(states) - set(page.hidden) <= set(filters), model
        shown = page.get_list_display(superuser)
        for field in model._meta.concrete_fields:
            if field.many_to_one and field.name in page.list_display:
                assert field.name not in shown, f"{model}: {field.name} is no link"


def test_every_search_works_and_reveals_nothing_hidden(client, superuser):
    client.force_login(superuser.user)
    for model in READ_ONLY:
        page = admin.site._registry[model]
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        found = client.get(reverse(f"admin:{name}_changelist"), {"q": "nothing"})
        assert found.status_code == 200, name
        searched = {f.lstrip("=^@") for f in page.get_search_fields(superuser)}
        assert not searched & set(page.hidden), name


def test_a_row_links_to_the_row_that_it_belongs_to(client, superuser):
    client.force_login(superuser.user)
    account = Account.objects.create(
        address="eip155:1:0x" + "1" * 40, user=superuser.user, created_at=clock.now()
    )
    listed = client.get(reverse("admin:accounts_account_changelist"))
    assert (
        reverse("admin:accounts_user_change", args=[superuser.user.pk]) in listed.text
    )
    assert account.address in listed.text


def test_lists_count_up_to_a_bound(client, superuser, monkeypatch):
    monkeypatch.setattr("accounts.admin.MAX_COUNTED", 3)
    client.force_login(superuser.user)
    for number in range(5):
        AuditEntry.objects.create(at=clock.now(), action=f"a{number}")
    page = client.get(reverse("admin:accounts_auditentry_changelist"))
    assert page.context["cl"].result_count == 3
