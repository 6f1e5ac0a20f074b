"""Subscriptions: the list, one of them, and the twenty steps of how it came about."""

from __future__ import annotations

import re

from subscriptions import services
from subscriptions.models import DappDocument, SubscribeAttempt
from tests.dashboard.conftest import words
from tests.subscriptions.conftest import requested
from tests.subscriptions.world import deliver
from walletconnect.notify import methods


def checked(page) -> set[str]:
    boxes = re.findall(r'<input class="switch"[^>]*>', page.text)
    return {re.search(r'value="([^"]*)"', box)[1] for box in boxes if " checked" in box}


def step_states(page) -> list[str]:
    return re.findall(r'class="step" [^>]*data-state="(\w+)"', page.text)


def test_nothing_yet_says_what_to_do(bob):
    assert "No subscription yet" in words(bob.get("/subscriptions"))


def test_the_list_shows_what_is_allowed_and_that_it_is_shared(
    alice, subscription, tell
):
    tell()
    page = words(alice.get("/subscriptions"))
    assert "Acme DAO" in page
    assert "2 of 2 types" in page
    assert "Synced" in page


def test_without_sync_it_says_that_it_is_on_this_device(bob, dapp):
    from tests.subscriptions.conftest import subscribed

    subscribed(bob, dapp)
    page = words(bob.get("/subscriptions"))
    assert "This device" in page
    assert "Synced" not in page


def test_the_page_shows_where_it_lives(alice, subscription):
    page = words(alice.get(f"/subscriptions/{subscription.topic}"))
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
    assert "Waiting for the dapp to confirm" in words(page)
    assert checked(page) == {"news"}
    deliver(dapp.answer_update(alice.account))
    page = alice.get(path)
    assert "Waiting" not in words(page)
    assert checked(page) == {"news"}


def test_every_type_can_be_off(alice, dapp, subscription):
    path = f"/subscriptions/{subscription.topic}"
    alice.get(path)
    alice.post(f"{path}/update")
    deliver(dapp.answer_update(alice.account))
    assert checked(alice.get(path)) == set()


def test_a_type_that_is_none_is_refused_in_words(alice, subscription):
    path = f"/subscriptions/{subscription.topic}"
    alice.get(path)
    alice.post(f"{path}/update", type=["news", "<b>"])
    assert "does not offer: <b>" in words(alice.get(path))
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
    assert "Votes new" in words(page)
    assert "votes" not in checked(page)


def test_changed_keys_of_a_dapp_wait_for_a_persons_word(alice, dapp, subscription):
    DappDocument.objects.update(
        changed_keys={
            "publicKeyX": "ab" * 32,
            "authenticationKey": "did:key:z6Mkother",
            "seenAt": "2026-01-01T00:00:00+00:00",
        }
    )
    path = f"/subscriptions/{subscription.topic}"
    assert "This dapp's keys changed" in words(alice.get(path))
    alice.post(f"{path}/keys")
    assert "This dapp's keys changed" not in words(alice.get(path))
    subscription.refresh_from_db()
    assert subscription.dapp_authentication_did == "did:key:z6Mkother"
    assert alice.post(f"{path}/keys").status_code == 404


def test_unsubscribing_says_so_and_takes_it_off_both_lists(alice, dapp, subscription):
    alice.get("/subscriptions")
    answer = alice.post(f"/subscriptions/{subscription.topic}/delete")
    page = alice.browser.follow(answer)
    assert "You are no longer subscribed to Acme DAO" in words(page)
    for browser in alice.browsers:
        assert subscription.topic not in browser.get("/subscriptions").text
        assert browser.get(f"/subscriptions/{subscription.topic}").status_code == 404
    assert dapp.last_on(dapp.key_of(alice.account), methods.DELETE.tag)


# --- the twenty steps -----------------------------------------------------------------


def test_an_attempt_on_its_way_shows_how_far_it_is(alice, dapp):
    attempt = requested(alice, dapp)
    assert "On the way" in words(alice.get("/subscriptions"))
    page = alice.get(f"/subscriptions/attempt/{attempt.pk}")
    states = step_states(page)
    assert len(states) == 20
    assert "Waiting for the dapp's answer" in words(page)
    assert states[:6] == ["done"] * 6
    assert states[8:] == ["waiting"] * 12


def test_when_it_is_done_the_dapps_own_steps_are_known_to_be_done(
    alice, dapp, subscription
):
    """The dapp's server is elsewhere and wrote nothing down here."""
    attempt = subscription.attempts.get()
    page = alice.get(f"/subscriptions/attempt/{attempt.pk}")
    assert step_states(page)[:18] == ["done"] * 18
    assert words(page).count("At the dapp's server") == 6
    assert "Open the subscription" in words(page)


def test_an_attempt_that_was_refused_says_why(alice, dapp):
    from walletconnect.errors import ErrorCode, RemoteProtocolError

    attempt = requested(alice, dapp)
    deliver(
        dapp.refusal(RemoteProtocolError(ErrorCode.UNAUTHENTIC, "no such identity"))
    )
    page = alice.get(f"/subscriptions/attempt/{attempt.pk}")
    assert "The dapp did not accept it" in words(page)
    assert "Try again" in words(page)
    assert "failed" in step_states(page)


def test_what_crossed_the_wire_holds_no_keys(alice, dapp, subscription):
    attempt = subscription.attempts.get()
    page = alice.get(f"/subscriptions/attempt/{attempt.pk}").text
    assert dapp.key_of(alice.account).hex() not in page


# --- from the directory ---------------------------------------------------------------


def test_subscribing_from_the_page_of_a_dapp_starts_the_run(alice, dapp):
    page = alice.check(dapp.url)
    assert "Report on localhost" in words(page)
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
    page = words(alice.check(dapp.url))
    assert "You are subscribed with your account" in page


def test_nobody_subscribes_with_anothers_account(alice, charlie, dapp):
    charlie.get("/discover")
    charlie.post(
        "/discover/subscribe", url=dapp.url, account=alice.account.pk, type=["news"]
    )
    assert not SubscribeAttempt.objects.exists()


def test_at_least_one_type_is_chosen(alice, dapp):
    alice.get("/discover")
    alice.post("/discover/subscribe", url=dapp.url, account=alice.account.pk)
    assert not SubscribeAttempt.objects.exists()
    assert "at least one type" in words(alice.get("/discover"))


def test_a_refused_form_comes_back_with_the_switches_as_they_were(alice, dapp):
    alice.check(dapp.url)
    answer = alice.post("/discover/subscribe", url=dapp.url, account="", type=["news"])
    assert checked(alice.checked(answer)) == {"news"}
    answer = alice.post("/discover/subscribe", url=dapp.url, account=alice.account.pk)
    assert checked(alice.checked(answer)) == set()
