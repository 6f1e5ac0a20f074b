"""However many rows one user has due, those of other users are not delayed."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from common import clock
from subscriptions import services
from subscriptions.models import (
    AccountWatch,
    DappDocument,
    SubscribeAttempt,
    Subscription,
)
from subscriptions.services.dapps import directory
from subscriptions.services.server import watch
from subscriptions.services.subscribe.subscribe import _claim
from tests.castserver.receiver import silent_host
from tests.people import sign_in_person
from tests.subscriptions.conftest import subscribed


@pytest.fixture
def mallory():
    return sign_in_person("mallory")


def plant(person, urls, **more):
    """Subscriptions as they come through Sync: only the dapp's URL is known."""
    values = {
        "metadata": {},
        "scope": {},
        "expiry": clock.now_s() + 30 * 24 * 3600,
        "added_by": "sync",
        "created_at": clock.now(),
        "account": person.account,
        **more,
    }
    return Subscription.objects.bulk_create(
        Subscription(topic=f"{person.account.pk:032x}{n:032x}", dapp_url=url, **values)
        for n, url in enumerate(urls)
    )


def test_planted_entries_of_one_user_do_not_delay_dapps_of_others(mallory, bob, dapp):
    plant(mallory, [f"https://a{n:04}.example.org" for n in range(1_000)])
    plant(bob, [dapp.url])
    due = directory._due_urls([], unknown=True)
    assert dapp.url in due[:2]
    assert len(due) == directory.PAGE


def test_the_dapp_that_was_read_longest_ago_comes_first(bob):
    urls = [f"https://a{n}.example.org" for n in range(3)]
    plant(bob, urls)
    now = clock.now()
    DappDocument.objects.bulk_create(
        DappDocument(
            url=url,
            checked_at=now - timedelta(hours=age),
            expires_at=now - timedelta(minutes=1),
            created_at=now,
        )
        for url, age in zip(urls, (1, 3, 2), strict=True)
    )
    assert directory._due_urls([], unknown=True) == [urls[1], urls[2], urls[0]]
    assert directory._due_urls([urls[1]], unknown=False) == [urls[2], urls[0]]


def test_slow_dapps_of_one_user_do_not_delay_subscribes_of_others(
    mallory, bob, dapp, settings
):
    with silent_host() as slow:
        for number in range(12):
            SubscribeAttempt.objects.create(
                account=mallory.account,
                dapp_url=f"{slow}/{number}",
                next_attempt_at=clock.now() - timedelta(minutes=1),
                created_at=clock.now(),
                expires_at=clock.now() + timedelta(minutes=5),
            )
        attempt = services.subscribe(bob.account, dapp.url, device=bob.device)
        claimed = _claim(32)
    mine = [each for each in claimed if each.account_id == mallory.account.pk]
    assert attempt in claimed
    assert len(mine) == settings.LIMITS.subscribes_per_user


def test_rows_that_cannot_be_renewed_do_not_delay_others(mallory, alice, dapp):
    """Rows whose key is lost stay due until they expire."""
    soon = clock.now_s() + 60
    plant(
        mallory,
        [f"https://a{n}.example.org" for n in range(600)],
        expiry=soon,
        dapp_authentication_did="did:key:z6Mk",
    )
    row = subscribed(alice, dapp)
    Subscription.objects.filter(pk=row.pk).update(expiry=soon + 30)
    assert services.renew_subscriptions() == 1
    row.refresh_from_db()
    assert row.pending_update is not None


def test_planted_entries_do_not_delay_the_key_of_another_users_dapp(
    mallory, bob, dapp, settings, monkeypatch
):
    """With a batch of ten, 55 planted dapps would fill five batches."""
    settings.LIMITS = dataclasses.replace(settings.LIMITS, document_deadline_s=1)
    monkeypatch.setattr(directory, "PAGE", 10)
    monkeypatch.setattr(directory, "SLOTS", 10)
    first: list[str] = []
    read = directory.read_dapp
    monkeypatch.setattr(
        directory, "read_dapp", lambda url: first.append(url) or read(url)
    )
    plant(mallory, [f"http://127.0.0.1:1/{number}" for number in range(55)])
    (row,) = plant(bob, [dapp.url])
    assert services.learn_dapps() == 1
    row.refresh_from_db()
    assert row.dapp_authentication_did == dapp.key.did
    assert dapp.url in first[:10]


def test_every_new_account_watches_after_one_run(monkeypatch, settings):
    """However many accounts one user adds, those that come after are not left out."""
    monkeypatch.setattr(watch, "WATCH_BATCH_SIZE", 2)
    people = [sign_in_person(f"person {number}") for number in range(5)]
    services.watch_accounts()
    watching = AccountWatch.objects.values_list("account_id", flat=True)
    assert set(watching) == {each.account.pk for each in people}
    settings.CAST_SERVER_URL = "http://127.0.0.1:1"
    services.watch_accounts()
    assert {each.server.url for each in AccountWatch.objects.all()} == {
        settings.CAST_SERVER_URL
    }
    assert AccountWatch.objects.count() == 5
