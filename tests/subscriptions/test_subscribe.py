"""W1 subscribes, steps 1 to 7: requests, stored rows, refusals."""

from __future__ import annotations

import itertools
import socket
from datetime import timedelta

import pytest
from django.conf import settings as django_settings

from accounts.models import AccountEvent
from common import clock
from common.work_queue import session_pid
from keychain.services import Holder, key_pairs, sym_keys
from messaging.models import OutboxMessage, TopicSubscription
from runlog import services as runlog
from subscriptions import services
from subscriptions.models import DappDocument, SubscribeAttempt
from tests.subscriptions.conftest import requested, subscribed
from walletconnect.identity.did import AccountId

State = SubscribeAttempt.State
# No process has so high a number.
NO_SESSION = 2**31 - 1


def test_the_request_names_account_dapp_and_types(alice, dapp):
    attempt = requested(alice, dapp, types={"alerts", "news"})
    (row,) = dapp.requests()
    auth = dapp.claims(row)
    assert auth.account.same_as(AccountId.parse(alice.account.address))
    assert auth.aud == dapp.key.did
    assert auth.app == dapp.url
    assert auth.scp == ("alerts", "news")
    assert auth.ksu == django_settings.KEYS_SERVER_URL
    assert auth.mjv is None, "protocol v0"
    assert attempt.state == State.REQUESTED
    assert attempt.identity_did == auth.iss


def test_without_a_choice_every_type_is_wanted(alice, dapp):
    attempt = requested(alice, dapp)
    assert dapp.claims(dapp.requests()[0]).scp == ("alerts", "news", "gm_hourly")
    assert all(setting["enabled"] for setting in attempt.scope.values())


def test_the_response_topic_is_wanted_and_its_keys_are_kept(alice, dapp):
    attempt = requested(alice, dapp)
    wanted = TopicSubscription.objects.get(topic=attempt.response_topic)
    assert (wanted.party, wanted.state) == ("wallet", "wanted")
    assert [each["context"]["step"] for each in wanted.callbacks] == [7]
    assert sym_keys(Holder.WALLET, [attempt.response_topic])
    assert key_pairs(Holder.WALLET, [attempt.topic_of_key_pair_y])


def test_steps_one_to_six_are_recorded_without_secrets(alice, dapp):
    attempt = requested(alice, dapp)
    found = runlog.of_run(attempt.response_topic)
    assert [record.step for record in found] == [1, 2, 3, 4, 5, 6]
    assert {record.actor for record in found} == {"W1"}
    text = str([record.wire for record in found])
    (secret,) = sym_keys(Holder.WALLET, [attempt.response_topic]).values()
    assert secret.hex() not in text


def test_pressing_subscribe_twice_starts_one_run(alice, dapp):
    first = services.subscribe(alice.account, dapp.url, device=alice.device)
    second = services.subscribe(alice.account, dapp.url + "/", device=alice.devices[1])
    assert first == second
    services.resolve_due()
    third = services.subscribe(alice.account, dapp.url, device=alice.device)
    assert third == first
    assert services.resolve_due() == 0
    assert len(dapp.requests()) == 1


def test_many_attempts_at_one_dapp_read_its_documents_once(alice, bob, dapp):
    for person in (alice, bob):
        services.subscribe(person.account, dapp.url, device=person.device)
    assert services.resolve_due() == 2
    assert len(dapp.hits) == 2
    assert len(dapp.requests()) == 2


def test_charlie_cannot_subscribe_alice(alice, charlie, dapp):
    with pytest.raises(services.NotYours):
        services.subscribe(alice.account, dapp.url, device=charlie.device)
    assert not SubscribeAttempt.objects.exists()


def test_a_device_that_was_signed_out_cannot_subscribe(alice, dapp):
    alice.device.revoked_at = clock.now()
    with pytest.raises(services.NotYours):
        services.subscribe(alice.account, dapp.url, device=alice.device)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dapp",
        "javascript:alert(1)",
        "http://dapp.example",
        "https://user@dapp.example",
        "https://dapp.example:8443",
        "https://-dapp.example",
        "https://10.0.0.1",
        "https://127.1",
        "https://dapp.example/" + "a" * 512,
        "https://" + "a" * 300 + ".example",
    ],
)
def test_an_invalid_dapp_url_is_refused(url, alice):
    with pytest.raises(services.DappUnusable):
        services.subscribe(alice.account, url, device=alice.device)
    assert not SubscribeAttempt.objects.exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://dapp.example/?utm_source=newsletter#top",
        "https://dapp.example:443/",
        "dapp.example",
        "https://DAPP.example.",
    ],
)
def test_the_dapp_url_is_normalized(url, alice):
    attempt = services.subscribe(alice.account, url, device=alice.device)
    assert attempt.dapp_url == "https://dapp.example"


def test_a_name_of_the_private_network_is_not_reached(alice, monkeypatch):
    inner = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: inner)
    attempt = services.subscribe(
        alice.account, "https://dapp.example", device=alice.device
    )
    services.resolve_due()
    attempt.refresh_from_db()
    assert attempt.state == State.REJECTED
    assert "public" in attempt.reason


def test_a_type_that_the_dapp_does_not_offer_is_refused(alice, dapp):
    attempt = requested(alice, dapp, types={"alerts", "lottery"})
    assert attempt.state == State.REJECTED
    assert "lottery" in attempt.reason
    with pytest.raises(services.UnknownTypes):
        services.subscribe(
            alice.account, dapp.url, types={"lottery"}, device=alice.device
        )


def test_a_request_for_no_types_is_allowed(alice, dapp):
    requested(alice, dapp, types=set())
    assert dapp.claims(dapp.requests()[0]).scp == ()


def test_a_second_subscription_to_the_same_dapp_is_refused(alice, dapp):
    present = subscribed(alice, dapp)
    with pytest.raises(services.AlreadySubscribed) as refusal:
        services.subscribe(alice.account, dapp.url, device=alice.device)
    assert refusal.value.subscription == present


def test_the_limit_of_subscriptions_holds(alice, dapp, settings):
    import dataclasses

    subscribed(alice, dapp)
    settings.LIMITS = dataclasses.replace(settings.LIMITS, subscriptions_per_account=1)
    with pytest.raises(services.TooMany):
        services.subscribe(alice.account, "https://other.example", device=alice.device)


# --- documents ------------------------------------------------------------------------


def outcome(attempt: SubscribeAttempt) -> tuple[str, str]:
    attempt.refresh_from_db()
    return attempt.state, attempt.reason


def test_a_dapp_without_did_json_is_rejected_at_once(alice, dapp):
    dapp.status = 404
    attempt = requested(alice, dapp)
    assert outcome(attempt) == (State.REJECTED, "did.json: the answer is 404")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "did.json: this is not a JSON object"),
        (b"{}", "did.json: keyAgreement names no X25519 key"),
        (b'{"verificationMethod": []}', "did.json"),
        (b"[" * 100_000, "longer than"),
    ],
)
def test_an_invalid_did_document_is_rejected(body, said, alice, dapp):
    dapp.body = body
    state, reason = outcome(requested(alice, dapp))
    assert state == State.REJECTED
    assert said in reason


@pytest.mark.parametrize(
    "config",
    [
        {},
        [],
        {"types": "all"},
        {"types": [{"name": "with space", "description": ""}]},
        {"types": [{"description": "no name"}]},
    ],
)
def test_an_invalid_list_of_types_is_rejected(config, alice, dapp):
    dapp.config = config
    state, reason = outcome(requested(alice, dapp))
    assert state == State.REJECTED
    assert reason.startswith("wc-notify-config.json")


def test_the_v1_form_of_the_type_list_is_read(alice, dapp):
    dapp.config = {
        "schemaVersion": 1,
        "name": "Acme DAO",
        "description": "Votes",
        "icons": ["https://acme.example/icon.png"],
        "types": [{"id": "alerts", "name": "Alerts", "description": "Urgent"}],
    }
    attempt = requested(alice, dapp)
    assert attempt.metadata["name"] == "Acme DAO"
    assert list(attempt.scope) == ["alerts"]
    document = DappDocument.objects.get(url=dapp.url)
    assert document.types == [
        {"name": "alerts", "title": "Alerts", "description": "Urgent"}
    ]


def test_an_unreachable_dapp_is_retried(alice, dapp):
    dapp.status = 503
    attempt = requested(alice, dapp)
    assert outcome(attempt) == (State.RESOLVING, "did.json: the answer is 503")
    assert services.resolve_due() == 0, "not before its time"
    dapp.status = 200
    DappDocument.objects.update(expires_at=clock.now())
    SubscribeAttempt.objects.update(next_attempt_at=clock.now())
    assert services.resolve_due() == 1
    assert outcome(attempt) == (State.REQUESTED, "")


def test_a_valid_document_is_cached_longer_than_an_invalid_one(alice, dapp):
    requested(alice, dapp)
    good = DappDocument.objects.get(url=dapp.url)
    assert (good.expires_at - good.checked_at).total_seconds() >= 3600 * 0.9
    dapp.status = 404
    DappDocument.objects.update(expires_at=clock.now())
    services.look_up_dapp(dapp.url)
    bad = DappDocument.objects.get(url=dapp.url)
    assert 100 <= (bad.expires_at - bad.checked_at).total_seconds() <= 140
    assert bad.public_key_x == good.public_key_x, "the last valid one stays"


def test_retries_of_an_unreachable_dapp_back_off(alice, dapp):
    dapp.status = 503
    at, waits = clock.now(), []
    for _ in range(7):
        with clock.frozen(at):
            services.look_up_dapp(dapp.url)
        document = DappDocument.objects.get(url=dapp.url)
        waits.append((document.expires_at - at).total_seconds())
        at = document.expires_at
    assert waits[0] <= 6
    assert all(late >= 1.6 * soon for soon, late in itertools.pairwise(waits[:4]))
    assert 100 <= waits[-1] <= 140
    dapp.status = 200
    with clock.frozen(at):
        services.look_up_dapp(dapp.url)
    assert DappDocument.objects.get(url=dapp.url).public_key_x


def test_changed_keys_wait_until_a_person_accepts_them(alice, bob, dapp):
    from walletconnect.crypto.keys import KeyPair

    subscribed(alice, dapp)
    old = dapp.key_pair_x.public_key.hex()
    dapp.key_pair_x = KeyPair.from_private(b"n" * 32)
    DappDocument.objects.update(expires_at=clock.now())
    AccountEvent.objects.all().delete()
    state, reason = outcome(requested(bob, dapp))
    assert state == State.REJECTED
    assert "keys" in reason
    document = DappDocument.objects.get(url=dapp.url)
    assert document.public_key_x == old
    assert document.changed_keys["publicKeyX"] == dapp.key_pair_x.public_key.hex()
    assert AccountEvent.objects.filter(user=alice.user).exists()

    services.accept_changed_keys(document, bob.device)
    attempt = requested(bob, dapp)
    assert attempt.state == State.REQUESTED
    assert len(dapp.requests()) == 1, "sealed for the new key"


def test_an_attempt_of_a_dead_worker_is_claimed_at_once(alice, dapp):
    attempt = services.subscribe(alice.account, dapp.url, device=alice.device)
    in_a_minute = clock.now() + timedelta(seconds=60)
    leased = SubscribeAttempt.objects.filter(pk=attempt.pk)
    leased.update(leased_until=in_a_minute, leased_by=session_pid())
    assert services.resolve_due() == 0, "its worker lives"
    leased.update(leased_by=NO_SESSION)
    assert services.resolve_due() == 1
    assert outcome(attempt) == (State.REQUESTED, "")


# --- the end without an answer --------------------------------------------------------


def expire(attempt: SubscribeAttempt) -> None:
    SubscribeAttempt.objects.filter(pk=attempt.pk).update(expires_at=clock.now())


def test_an_unanswered_attempt_expires_and_can_be_repeated(alice, dapp):
    attempt = requested(alice, dapp)
    late_answer = dapp.answer()
    expire(attempt)
    assert services.expire_attempts() == 1
    assert services.expire_attempts() == 0
    assert outcome(attempt)[0] == State.EXPIRED
    topic = TopicSubscription.objects.get(topic=attempt.response_topic)
    assert topic.state == "unwanted"
    assert not sym_keys(Holder.WALLET, [attempt.response_topic])

    from tests.subscriptions.world import deliver

    (late,) = deliver(late_answer)
    assert late.state == "refused"
    assert outcome(attempt)[0] == State.EXPIRED
    again = requested(alice, dapp)
    assert again.response_topic != attempt.response_topic, "a fresh Y"


def test_the_request_is_stored_once_with_its_exact_bytes(alice, dapp):
    requested(alice, dapp)
    (before,) = OutboxMessage.objects.filter(tag=4000)
    SubscribeAttempt.objects.update(next_attempt_at=clock.now())
    services.resolve_due()
    (after,) = OutboxMessage.objects.filter(tag=4000)
    assert after.message == before.message
