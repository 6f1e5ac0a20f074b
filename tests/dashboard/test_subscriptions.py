"""Subscriptions: the list, one subscription, and the twenty steps of an attempt."""

from __future__ import annotations

import re
from datetime import timedelta

from common import clock
from dashboard.pages.subscriptions import subscription_rows
from subscriptions import services
from subscriptions.models import (
    DappDocument,
    NotifyMessageRecord,
    SubscribeAttempt,
)
from tests.dashboard.conftest import text_of
from tests.subscriptions.conftest import requested
from tests.subscriptions.world import deliver
from walletconnect.notify import methods


def checked(page) -> set[str]:
    boxes = re.findall(r'<input class="switch"[^>]*>', page.text)
    return {re.search(r'value="([^"]*)"', box)[1] for box in boxes if " checked" in box}


def step_states(page) -> list[str]:
    return re.findall(r'class="step" [^>]*data-state="(\w+)"', page.text)


def test_an_empty_list_explains_the_next_step(bob):
    assert "No subscription yet" in text_of(bob.get("/subscriptions"))


def test_the_list_shows_what_is_allowed_and_that_it_is_shared(
    alice, subscription, notify
):
    notify()
    page = text_of(alice.get("/subscriptions"))
    assert "Acme DAO" in page
    assert "2 of 2 types" in page
    assert "Synced" in page


def test_unread_notifications_are_counted_up_to_a_bound(
    alice, charlie, subscription, notify, django_assert_num_queries
):
    records = [notify() for _ in range(5)]
    services.mark_read(records[:1], alice.device)
    services.archive(records[1:2], alice.device)
    services.snooze(records[2:3], alice.device, until=clock.now() + timedelta(days=1))
    users = [alice.user.pk, charlie.user.pk]
    with django_assert_num_queries(2):
        by_user = services.unread_of_users(users, most=1000)
        by_subscription = services.unread_of_subscriptions([subscription.pk], most=1000)
    unread = NotifyMessageRecord.objects.unread().count()
    assert unread == 2
    assert by_user == {alice.user.pk: unread, charlie.user.pk: 0}
    assert by_subscription == {subscription.pk: unread}
    assert services.unread_of_users(users, most=1)[alice.user.pk] == 1
    assert services.unread_of_subscriptions([subscription.pk], most=1) == {
        subscription.pk: 1
    }


def test_the_list_reads_no_more_unread_notifications_than_it_shows(
    alice, subscription, notify, monkeypatch
):
    monkeypatch.setattr("dashboard.frame.MAX_COUNTED", 3)
    monkeypatch.setattr("dashboard.pages.subscriptions.MAX_COUNTED", 3)
    for _ in range(6):
        notify()
    (row,) = subscription_rows(alice.user.pk)
    assert row.unread == 4
    page = alice.get("/subscriptions").text
    assert 'title="3+ unread">3+<' in page


def test_without_sync_a_subscription_is_marked_as_local(bob, dapp):
    from tests.subscriptions.conftest import subscribed

    subscribed(bob, dapp)
    page = text_of(bob.get("/subscriptions"))
    assert "This device" in page
    assert "Synced" not in page


def test_the_page_shows_the_timeline(alice, subscription):
    page = text_of(alice.get(f"/subscriptions/{subscription.topic}"))
    assert "Subscribed on Firefox · Mac (W1)" in page
    assert "The dapp's answer was verified" in page
    assert "Written to Sync by Firefox · Mac" in page
    assert "Chrome · Windows (Wx) holds it" in page
    assert subscription.topic in page


def test_changing_types_asks_the_dapp_and_shows_that_it_waits(
    alice, dapp, subscription
):
    path = f"/subscriptions/{subscription.topic}"
    assert checked(alice.get(path)) == {"alerts", "news"}
    alice.post(f"{path}/update", type=["news"])
    page = alice.get(path)
    assert "Waiting for the dapp to confirm" in text_of(page)
    assert checked(page) == {"news"}
    deliver(dapp.answer_update(alice.account))
    page = alice.get(path)
    assert "Waiting" not in text_of(page)
    assert checked(page) == {"news"}


def test_every_type_can_be_off(alice, dapp, subscription):
    path = f"/subscriptions/{subscription.topic}"
    alice.get(path)
    alice.post(f"{path}/update")
    deliver(dapp.answer_update(alice.account))
    assert checked(alice.get(path)) == set()


def test_an_unknown_type_is_refused_with_a_message(alice, subscription):
    path = f"/subscriptions/{subscription.topic}"
    alice.get(path)
    alice.post(f"{path}/update", type=["news", "<b>"])
    assert "does not offer: <b>" in text_of(alice.get(path))
    subscription.refresh_from_db()
    assert subscription.pending_update is None


def test_a_type_that_the_dapp_added_since_is_marked_new_and_off(alice, subscription):
    DappDocument.objects.update(
        types=[
            {"name": "alerts", "title": "Alerts", "description": ""},
            {"name": "votes", "title": "Votes", "description": "A vote begins"},
        ]
    )
    page = alice.get(f"/subscriptions/{subscription.topic}")
    assert "Votes new" in text_of(page)
    assert "votes" not in checked(page)


def test_changed_keys_of_a_dapp_need_the_users_consent(alice, dapp, subscription):
    DappDocument.objects.update(
        changed_keys={
            "publicKeyX": "ab" * 32,
            "authenticationKey": "did:key:z6Mkother",
            "seenAt": "2026-01-01T00:00:00+00:00",
        }
    )
    path = f"/subscriptions/{subscription.topic}"
    assert "This dapp's keys changed" in text_of(alice.get(path))
    alice.post(f"{path}/keys")
    assert "This dapp's keys changed" not in text_of(alice.get(path))
    subscription.refresh_from_db()
    assert subscription.dapp_authentication_did == "did:key:z6Mkother"
    assert alice.post(f"{path}/keys").status_code == 404


def test_unsubscribing_shows_a_message_and_updates_both_lists(
    alice, dapp, subscription
):
    alice.get("/subscriptions")
    answer = alice.post(f"/subscriptions/{subscription.topic}/delete")
    page = alice.browser.follow(answer)
    assert "You are no longer subscribed to Acme DAO" in text_of(page)
    for browser in alice.browsers:
        assert subscription.topic not in browser.get("/subscriptions").text
        assert browser.get(f"/subscriptions/{subscription.topic}").status_code == 404
    assert dapp.last_on(dapp.key_of(alice.account), methods.DELETE.tag)


# --- the twenty steps -----------------------------------------------------------------


def test_a_running_attempt_shows_its_progress(alice, dapp):
    attempt = requested(alice, dapp)
    assert "On the way" in text_of(alice.get("/subscriptions"))
    page = alice.get(f"/subscriptions/attempt/{attempt.pk}")
    states = step_states(page)
    assert len(states) == 20
    assert "Waiting for the dapp's answer" in text_of(page)
    assert states[:6] == ["done"] * 6
    assert states[8:] == ["waiting"] * 12


def test_when_it_is_done_the_dapps_own_steps_are_known_to_be_done(
    alice, dapp, subscription
):
    """The dapp's server is elsewhere and recorded nothing here."""
    attempt = subscription.attempts.get()
    page = alice.get(f"/subscriptions/attempt/{attempt.pk}")
    assert step_states(page)[:18] == ["done"] * 18
    assert text_of(page).count("At the dapp's server") == 6
    assert "Open the subscription" in text_of(page)


def test_a_rejected_attempt_shows_the_reason(alice, dapp):
    from walletconnect.errors import ErrorCode, RemoteProtocolError

    attempt = requested(alice, dapp)
    deliver(
        dapp.refusal(RemoteProtocolError(ErrorCode.UNAUTHENTIC, "no such identity"))
    )
    page = alice.get(f"/subscriptions/attempt/{attempt.pk}")
    assert "The dapp did not accept it" in text_of(page)
    assert "Try again" in text_of(page)
    assert "failed" in step_states(page)


def test_what_crossed_the_wire_holds_no_keys(alice, dapp, subscription):
    attempt = subscription.attempts.get()
    page = alice.get(f"/subscriptions/attempt/{attempt.pk}").text
    assert dapp.key_of(alice.account).hex() not in page


# --- from the directory ---------------------------------------------------------------


def test_subscribing_from_the_page_of_a_dapp_starts_the_run(alice, dapp):
    page = alice.check(dapp.url)
    assert "Report on localhost" in text_of(page)
    assert checked(page) == {"alerts", "news"}
    answer = alice.post(
        "/discover/subscribe", url=dapp.url, account=alice.account.pk, type=["news"]
    )
    attempt = SubscribeAttempt.objects.get()
    assert answer.headers["Location"] == f"/subscriptions/attempt/{attempt.pk}"
    assert (attempt.wanted_types, attempt.device) == (["news"], alice.device)
    services.resolve_due()
    assert dapp.requests()


def test_subscribing_twice_leads_to_the_same_place(alice, dapp, subscription):
    alice.get("/discover")
    answer = alice.post(
        "/discover/subscribe", url=dapp.url, account=alice.account.pk, type=["news"]
    )
    assert answer.headers["Location"] == f"/subscriptions/{subscription.topic}"
    page = text_of(alice.check(dapp.url))
    assert "You are subscribed with your account" in page


def test_another_users_account_cannot_be_subscribed(alice, charlie, dapp):
    charlie.get("/discover")
    charlie.post(
        "/discover/subscribe", url=dapp.url, account=alice.account.pk, type=["news"]
    )
    assert not SubscribeAttempt.objects.exists()


def test_at_least_one_type_is_chosen(alice, dapp):
    alice.get("/discover")
    alice.post("/discover/subscribe", url=dapp.url, account=alice.account.pk)
    assert not SubscribeAttempt.objects.exists()
    assert "at least one type" in text_of(alice.get("/discover"))


def test_a_refused_form_comes_back_with_the_switches_as_they_were(alice, dapp):
    alice.check(dapp.url)
    answer = alice.post("/discover/subscribe", url=dapp.url, account="", type=["news"])
    assert checked(alice.checked(answer)) == {"news"}
    answer = alice.post("/discover/subscribe", url=dapp.url, account=alice.account.pk)
    assert checked(alice.checked(answer)) == set()
