"""Watching at the Cast Server: who asks, when again, and which lists are applied."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import pytest

from accounts.models import AuditEntry
from accounts.services import remove_account, revoke_device
from common import clock, entropy
from identity.models import IdentityKey
from keychain.services import Holder, key_pairs, sym_keys
from messaging.models import InboxMessage, TopicSubscription
from subscriptions import services
from subscriptions.models import Subscription
from subscriptions.models.watches import AccountWatch, WatchedServer
from tests.cacaos import LIMITED_STATEMENT
from tests.people import sign_in_person
from tests.snapshots import rows_of
from tests.subscriptions.cast_server import CastServer, listed
from tests.subscriptions.world import deliver, send_as_peer, sent
from walletconnect.crypto.envelope import Envelope
from walletconnect.crypto.keys import SymKey
from walletconnect.crypto.signing import IdentityKey as SecretKey
from walletconnect.identity.did import AccountId
from walletconnect.notify.answers import publish_result
from walletconnect.notify.methods import WATCH
from walletconnect.notify.watch import NotifyServer
from walletconnect.notify.watch_claims import WatchSubscriptionsResponseAuth

HOUR = timedelta(hours=1)
STRANGER = SecretKey.from_seed(b"s" * 32)
APPS = ("subscriptions", "syncstore", "keychain", "messaging", "runlog", "accounts")
NOTED = ("accounts_auditentry", "messaging_inboxmessage")


@pytest.fixture
def server(settings):
    made = CastServer()
    settings.CAST_SERVER_URL = made.url
    yield made
    made.close()


@pytest.fixture
def watched(alice, server):
    """Alice's account, watching, with an empty list."""
    services.watch_accounts()
    deliver(server.answer())
    return alice


def watch() -> AccountWatch:
    return AccountWatch.objects.get()


def later(**by):
    return clock.frozen(clock.now() + timedelta(**by))


def everything():
    return rows_of(*APPS, without=NOTED)


# --- requests -------------------------------------------------------------------------


def test_an_account_asks_for_all_its_apps(alice, server):
    services.watch_accounts()
    [row] = server.requests()
    assert (row.topic, row.tag, row.ttl) == (server.key_pair.topic, 4010, 300)
    assert Envelope.decode(row.message).sender_public_key is not None
    claims = server.claims(row)
    assert claims.app is None
    assert claims.aud == server.key.did
    assert claims.account == AccountId.parse(alice.account.address)
    assert IdentityKey.objects.get(did=claims.iss).account == alice.account


def test_the_answers_topic_is_wanted_and_its_key_kept(alice, server):
    services.watch_accounts()
    _, _, sym_key = server.opened(server.requests()[0])
    assert watch().response_topic == sym_key.topic
    assert TopicSubscription.objects.get(topic=sym_key.topic).state == "wanted"
    assert sym_keys(Holder.WALLET, [sym_key.topic]) == {sym_key.topic: sym_key}
    kept = watch().topic_of_key_pair
    assert list(key_pairs(Holder.WALLET, [kept])) == [kept]


def test_many_accounts_ask_in_one_go_with_one_reading_of_the_document(server):
    for name in ("alice", "bob", "charlie"):
        sign_in_person(name)
    services.watch_accounts()
    assert len({server.claims(row).sub for row in server.requests()}) == 3
    assert len({row.response_topic for row in AccountWatch.objects.all()}) == 3
    assert server.hits == ["/.well-known/did.json"]


def test_an_account_asks_once_per_due_time(alice, server):
    services.watch_accounts()
    services.watch_accounts()
    assert len(server.requests()) == 1


def test_an_identity_that_may_see_one_app_only_does_not_ask(alice, server):
    for key in IdentityKey.objects.all():
        cacao = json.loads(key.cacao)
        cacao["p"]["statement"] = LIMITED_STATEMENT
        IdentityKey.objects.filter(pk=key.pk).update(cacao=json.dumps(cacao))
    services.watch_accounts()
    assert not sent(4010)
    assert "all apps" in watch().reason


def test_an_unanswered_request_is_replaced_after_it_expires(alice, server):
    services.watch_accounts()
    with later(minutes=4 * 0.79):
        services.watch_accounts()
    assert len(server.requests()) == 1
    with later(minutes=7):
        services.watch_accounts()
    first, second = server.requests()
    assert first.topic == second.topic
    assert first.message != second.message
    _, sender, sym_key = server.opened(first)
    assert server.opened(second)[1:] == (sender, sym_key), "one key pair, one topic"


def test_an_answered_watch_is_renewed_before_a_day_is_over(watched, server):
    with later(hours=12):
        services.watch_accounts()
    assert len(server.requests()) == 1
    with later(hours=23):
        services.watch_accounts()
        assert len(server.requests()) == 2
        deliver(server.answer())
    assert watch().attempts == 0


def test_signing_in_asks_again_at_once_as_the_same_watcher(watched, server):
    before = server.claims().iss
    sign_in_person("alice")
    services.watch_accounts()
    assert len(server.requests()) == 2
    assert server.claims().iss == before, "a server counts watchers by identity"


def test_a_retired_identity_is_replaced_by_another_of_the_account(watched, server):
    used = IdentityKey.objects.get(did=server.claims().iss)
    [other] = [each for each in watched.devices if each.pk != used.device_id]
    revoke_device(used.device, by=other)
    services.watch_accounts()
    assert len(server.requests()) == 2
    assert server.claims().iss != used.did


def test_an_account_without_an_identity_stops_watching(watched, server):
    topic = watch().response_topic
    for device in watched.devices:
        revoke_device(device, by=device)
    services.watch_accounts()
    assert len(server.requests()) == 1
    assert (watch().response_topic, watch().identity_did) == ("", "")
    assert TopicSubscription.objects.get(topic=topic).state == "unwanted"
    assert not sym_keys(Holder.WALLET, [topic])


def test_a_removed_account_stops_watching(watched, server):
    topic = watch().response_topic
    remove_account(watched.account, by=watched.device)
    assert TopicSubscription.objects.get(topic=topic).state == "unwanted"
    assert not AccountWatch.objects.exists()


# --- the server's document ------------------------------------------------------------


def test_an_unreachable_server_is_retried_soon(alice, server):
    server.status = 503
    services.watch_accounts()
    assert not sent(4010)
    assert "503" in watch().reason
    server.status = 200
    with later(seconds=10):
        services.watch_accounts()
    assert len(server.requests()) == 1


def test_an_invalid_document_is_reported(alice, server, settings):
    settings.CAST_SERVER_URL = f"{server.url}/elsewhere"
    services.watch_accounts()
    assert "404" in WatchedServer.objects.get(url=settings.CAST_SERVER_URL).reason
    assert not sent(4010)


def test_a_failed_reading_keeps_the_last_valid_document(watched, server):
    server.status = 500
    with later(hours=23):
        services.watch_accounts()
    assert len(server.requests()) == 2


def test_new_keys_of_the_server_are_audited_and_used(watched, server):
    old = watch().response_topic
    server.key = SecretKey.from_seed(b"n" * 32)
    server.key_pair = type(server.key_pair).from_private(b"m" * 32)
    WatchedServer.objects.update(expires_at=clock.now())
    with later(hours=23):
        services.watch_accounts()
        assert server.claims().aud == server.key.did
    assert AuditEntry.objects.filter(action="cast-server.key-changed").count() == 1
    assert TopicSubscription.objects.get(topic=old).state == "unwanted"
    assert not sym_keys(Holder.WALLET, [old])


def test_another_server_takes_the_place_of_the_first(watched, server, settings):
    old = watch()
    other = CastServer("another")
    try:
        settings.CAST_SERVER_URL = other.url
        services.watch_accounts()
    finally:
        other.close()
    assert watch().server.url == other.url
    assert TopicSubscription.objects.get(topic=old.response_topic).state == "unwanted"
    assert not key_pairs(Holder.WALLET, [old.topic_of_key_pair])


# --- lists ----------------------------------------------------------------------------


def states(rows: list[InboxMessage]) -> list[str]:
    return [row.state for row in rows]


def test_the_answer_is_applied_once(alice, dapp, server):
    services.watch_accounts()
    answer = server.answer(listed(alice, dapp))
    assert states(deliver(answer)) == ["handled"]
    assert Subscription.objects.count() == 1
    before = everything()
    deliver(answer)
    assert everything() == before


def stranger(server):
    return NotifyServer(STRANGER, server.key_pair, server.identity.allowed_keys_servers)


def answer_of_a_stranger(server, entry):
    request, _, sym_key = server.opened(server.requests()[-1])
    now = clock.now_s()
    token = WatchSubscriptionsResponseAuth(
        iat=now,
        exp=now + 300,
        iss=STRANGER.did,
        aud=server.watcher.identity_did,
        sub=server.watcher.account.did,
        sbs=(entry,),
    ).sign(STRANGER)
    made = publish_result(
        WATCH,
        {WATCH.result: token},
        request_id=request.id,
        sym_key=sym_key,
        iv=entropy.iv(),
    )
    return made.topic, made.message, made.tag


def hostile(server, person, dapp, bob):
    """Forged lists, by name, from an attacker who has the topic's key."""
    mine, theirs = listed(person, dapp), listed(bob, dapp)
    watcher = server.watcher
    somebody = dataclasses.replace(watcher, identity_did=STRANGER.did)
    of_bob = dataclasses.replace(watcher, account=AccountId.parse(bob.account.address))
    return {
        "signed by a stranger": server.announcement(mine, signer=stranger(server)),
        "for another identity": server.announcement(mine, watcher=somebody),
        "of another account": server.announcement(mine, watcher=of_bob),
        "names another account": server.announcement(mine, theirs),
        "expired": server.announcement(mine, now=clock.now_s() - 900),
        "from the future": server.announcement(mine, now=clock.now_s() + 900),
        "before the last": server.announcement(mine, now=clock.now_s() - 60),
        "answered by a stranger": answer_of_a_stranger(server, mine),
    }


LIES = [
    "signed by a stranger",
    "for another identity",
    "of another account",
    "names another account",
    "expired",
    "from the future",
    "before the last",
    "answered by a stranger",
]


@pytest.mark.parametrize("lie", LIES)
def test_a_hostile_list_is_refused_and_changes_nothing(watched, bob, dapp, server, lie):
    message = hostile(server, watched, dapp, bob)[lie]
    before = everything()
    assert states(deliver(message)) == ["refused"]
    assert everything() == before
    assert states(deliver(server.announcement(listed(watched, dapp)))) == ["handled"]


@pytest.mark.parametrize(
    "payload",
    [
        {"id": 1, "jsonrpc": "2.0", "result": {}},
        {"id": 1, "jsonrpc": "2.0", "method": "x", "params": {}},
        {"id": 1, "jsonrpc": "2.0", "error": {"code": -1, "message": "no"}},
        {"id": 1, "jsonrpc": "2.0", "method": "x", "params": {"responseAuth": "a.b.c"}},
    ],
)
@pytest.mark.parametrize("tag", [4011, 4012])
def test_a_payload_without_a_list_changes_nothing(watched, server, payload, tag):
    before = everything()
    assert states(send_as_peer(server.watcher.sym_key, payload, tag)) == ["refused"]
    assert everything() == before


def test_a_list_with_an_invalid_element_is_refused_whole(watched, dapp, server):
    good = listed(watched, dapp)
    bad = dataclasses.replace(good, sym_key=SymKey(b"q" * 32), scope=("two words",))
    before = everything()
    assert states(deliver(server.announcement(good, bad))) == ["refused"]
    assert everything() == before


def test_the_answer_to_an_earlier_request_is_refused(alice, dapp, server):
    services.watch_accounts()
    # The next request is due after 4 to 6 minutes; the first expires after 7, with leeway.
    with later(minutes=6.5):
        services.watch_accounts()
        first, second = server.requests()
        late = server.answer(listed(alice, dapp), row=first)
        assert states(deliver(late)) == ["refused"]
        assert states(deliver(server.answer(row=second))) == ["handled"]
    assert not Subscription.objects.exists()


def test_a_refusal_by_the_server_is_stored_and_retried(alice, server):
    services.watch_accounts()
    deliver(server.refusal("too many watchers"))
    assert watch().reason == "The Cast Server refused: too many watchers"
    with later(minutes=7):
        services.watch_accounts()
    assert len(server.requests()) == 2


def test_of_several_lists_at_once_the_last_is_applied(watched, dapp, server):
    one, two = listed(watched, dapp, "p"), listed(watched, dapp, "q")
    deliver(server.announcement(one), server.announcement(two))
    active = Subscription.objects.active()
    assert [row.topic for row in active] == [two.sym_key.topic]


def test_no_key_is_in_a_task_or_a_repr(watched, dapp, server):
    entry = listed(watched, dapp)
    deliver(server.announcement(entry))
    row = Subscription.objects.get()
    assert entry.sym_key.hex() not in f"{entry!r}{watch().pending!r}{row!r}"
