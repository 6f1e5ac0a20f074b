"""Web Push against a push service of our own that decrypts as a browser does."""

from __future__ import annotations

from datetime import time, timedelta

import pytest

from accounts.services import revoke_device
from alerts.models import AlertSettings, PushDelivery, PushSubscription
from alerts.services import webpush
from alerts.services.preferences import mute
from alerts.services.webpush import BACKOFF, PushError, save_subscription
from common import clock, histograms
from keychain.models import SecretEntry
from keychain.webpush import application_server_key
from subscriptions.models import Icon
from tests.alerts.conftest import PushingBrowser, claims_of
from walletconnect.crypto.base64url import decode_base64url

pytestmark = pytest.mark.django_db


def send() -> None:
    webpush.send_due_pushes()


def test_a_notification_is_shown_by_the_browser_that_asked(firefox, receiver, notify):
    message = notify(title="Vote", body="Round 4 ends today")
    send()
    [request] = receiver.received
    assert firefox.read(request.body) == {
        "kind": "show",
        "id": message.pk,
        "unread": 1,
        "title": "Vote",
        "body": "Round 4 ends today",
        "dapp": "Acme DAO",
        "url": f"/inbox/{message.pk}",
        "silent": False,
    }
    assert request.headers["content-encoding"] == "aes128gcm"
    assert int(request.headers["ttl"]) > 0
    assert request.headers["topic"] == f"m{message.pk}"


def test_the_time_of_every_push_is_measured(
    firefox, receiver, notify, redis_client, django_capture_on_commit_callbacks
):
    notify()
    with django_capture_on_commit_callbacks(execute=True):
        send()
    measured = histograms.totals()["attempt", "push"]
    assert sum(measured.counts) == 1
    assert 0 < measured.sum_s < 15


def test_the_icon_in_a_push_is_a_path_of_ours(firefox, receiver, notify):
    """The browser loads it when it shows the notification: never from the dapp."""
    url = "https://acme.example/icon.png"
    icon = Icon.objects.create(url=url, dapp_url=url, wanted_at=clock.now())
    for digest, expected in (("", None), ("0" * 32, "/icons/" + "0" * 32)):
        Icon.objects.filter(pk=icon.pk).update(digest=digest)
        notify(icon=url)
        send()
        shown = firefox.read(receiver.received[-1].body)
        assert shown.get("icon") == expected
        assert url not in str(shown)


def test_the_push_service_learns_who_sends_and_nothing_else(firefox, receiver, notify):
    notify(title="Vote", body="Round 4 ends today")
    send()
    [request] = receiver.received
    claims, key = claims_of(request.headers["authorization"])
    assert claims["aud"] == receiver.origin
    assert clock.now_s() < claims["exp"] < clock.now_s() + 24 * 3600
    assert claims["sub"].startswith(("mailto:", "https://"))
    assert key == decode_base64url(application_server_key())
    sent = request.body + repr(request.headers).encode()
    assert b"Vote" not in sent
    assert b"Round" not in sent


def test_each_notification_is_sent_once(firefox, receiver, notify):
    notify()
    send()
    send()
    assert len(receiver.received) == 1


def test_one_read_elsewhere_is_withdrawn(firefox, receiver, alice, notify):
    message = notify()
    send()
    alice.browsers[1].get(f"/inbox/{message.pk}")
    send()
    assert firefox.read(receiver.received[1].body) == {
        "kind": "withdraw",
        "id": message.pk,
        "unread": 0,
    }
    assert (
        receiver.received[1].headers["topic"] == receiver.received[0].headers["topic"]
    )
    assert PushDelivery.objects.count() == 0


def test_one_read_before_it_was_sent_is_not_sent(firefox, receiver, alice, notify):
    message = notify()
    alice.browsers[1].get(f"/inbox/{message.pk}")
    send()
    assert receiver.received == []
    assert PushDelivery.objects.count() == 0


def test_one_unread_again_stays_shown(firefox, receiver, alice, notify):
    message = notify()
    send()
    alice.get("/inbox")
    alice.post("/inbox/act", act=f"read:{message.pk}")
    alice.post("/inbox/act", act=f"unread:{message.pk}")
    send()
    assert len(receiver.received) == 1
    assert PushDelivery.objects.get().state == PushDelivery.State.SHOWN


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_is_over_is_forgotten(firefox, receiver, notify, status):
    receiver.answers = [(status, {})]
    notify()
    send()
    assert not PushSubscription.objects.exists()
    assert not SecretEntry.objects.filter(name__startswith="push ").exists()


def test_a_push_service_that_asks_for_a_pause_gets_it(firefox, receiver, notify):
    receiver.answers = [(429, {"Retry-After": "120"})]
    notify()
    send()
    row = PushDelivery.objects.get()
    assert row.next_attempt_at >= clock.now() + timedelta(seconds=110)
    with clock.frozen(clock.now() + timedelta(seconds=121)):
        send()
    assert len(receiver.received) == 2
    assert PushDelivery.objects.get().state == PushDelivery.State.SHOWN


def test_failures_are_tried_again_and_end(firefox, receiver, notify):
    receiver.answers = [(503, {})] * BACKOFF.max_attempts
    notify()
    at = clock.now()
    for _ in range(BACKOFF.max_attempts + 2):
        with clock.frozen(at):
            send()
        at += timedelta(hours=2)
    assert len(receiver.received) == BACKOFF.max_attempts
    assert PushDelivery.objects.count() == 0
    assert "503" in PushSubscription.objects.get().reason


def test_a_muted_dapp_does_not_alert(firefox, receiver, alice, subscription, notify):
    mute(alice.account, subscription.dapp_url, "", "1h")
    assert notify().read_at is None
    send()
    assert receiver.received == []


def test_a_muted_type_leaves_the_others(firefox, receiver, alice, subscription, notify):
    mute(alice.account, subscription.dapp_url, "news", "on")
    notify(type="news")
    notify(type="alerts", title="Urgent")
    send()
    [request] = receiver.received
    assert firefox.read(request.body)["title"] == "Urgent"


def test_quiet_hours_put_it_off_and_take_the_sound(firefox, receiver, alice, notify):
    AlertSettings.objects.create(
        user=alice.user,
        quiet_from=time(0),
        quiet_until=time(23, 59, 59),
        time_zone="UTC",
    )
    now = clock.now().replace(hour=12)
    with clock.frozen(now):
        notify()
        send()
    assert receiver.received == []
    with clock.frozen(now.replace(hour=23, minute=59, second=59)):
        send()
    [request] = receiver.received
    assert firefox.read(request.body)["silent"] is True


def test_other_people_get_nothing(firefox, receiver, charlie, notify):
    other = PushingBrowser(f"{receiver.origin}/charlie")
    save_subscription(charlie.device, other.subscription)
    notify()
    send()
    assert [each.path for each in receiver.received] == ["/hook"]


def test_a_revoked_device_gets_nothing(firefox, receiver, alice, notify):
    revoke_device(alice.device, by=None)
    notify()
    send()
    assert receiver.received == []
    assert not SecretEntry.objects.filter(name__startswith="push ").exists()


def test_the_auth_secret_is_in_the_keychain_only(firefox):
    row = PushSubscription.objects.values().get()
    assert firefox.auth not in repr(row).encode()


def broken(**changes):
    good = PushingBrowser("https://push.example/1").subscription
    keys = good["keys"] | changes.pop("keys", {})
    return good | {"keys": keys} | changes


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "endpoint and keys"),
        ([], "endpoint and keys"),
        ({"endpoint": "https://push.example"}, "endpoint and keys"),
        (broken(endpoint=None), "endpoint is a URL"),
        (broken(endpoint="https://push.example/" + "a" * 2048), "endpoint is a URL"),
        (broken(endpoint="http://push.example/1"), "only https"),
        (broken(endpoint="https://10.0.0.1/1"), "public Internet"),
        (broken(endpoint="https://intranet/1"), "public Internet"),
        (broken(endpoint="file:///etc/passwd"), "https://"),
        (broken(keys={"p256dh": None}), "P-256"),
        (broken(keys={"p256dh": "AAAA"}), "P-256"),
        (broken(keys={"p256dh": "=" * 88}), "P-256"),
        (broken(keys={"auth": "AAAA"}), "16"),
    ],
)
def test_what_is_no_push_subscription_is_refused(alice, value, reason):
    with pytest.raises(PushError, match=reason):
        save_subscription(alice.device, value)
    assert not PushSubscription.objects.exists()


def test_a_hanging_push_service_holds_only_its_owner_s_slots(
    firefox, receiver, charlie, settings
):
    from dataclasses import replace

    from tests.castserver.receiver import silent_host

    settings.LIMITS = replace(settings.LIMITS, webhook_deadline_s=1)
    with silent_host() as origin:
        slow = PushingBrowser(f"{origin}/push")
        webpush.queue_test(save_subscription(charlie.device, slow.subscription))
        webpush.queue_test(PushSubscription.objects.get(endpoint=firefox.endpoint))
        send()
    assert firefox.read(receiver.received[0].body)["title"].startswith("Notifications")
    assert PushDelivery.objects.get().attempts == 1
