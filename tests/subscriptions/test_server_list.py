"""Lists of the Cast Server: rows, keys and topics here, and the shared store."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction

from accounts.models import AccountEvent, AuditEntry
from common import clock
from keychain.services import Holder, open_sealed, sym_keys
from messaging import inbox
from messaging.handling import handle
from messaging.models import InboxMessage, TopicSubscription
from subscriptions import services
from subscriptions.models import NotifyMessageRecord, Subscription
from syncstore.models import ColdStart, Store, StoreEntry, StoreUpdate
from syncstore.services import cold_start, enable_sync
from tests.messaging.conftest import wait_for
from tests.snapshots import rows_of
from tests.subscriptions.cast_server import CastServer, listed, v1_notification
from tests.subscriptions.conftest import requested, subscribed
from tests.subscriptions.test_adoption import OtherWallet
from tests.subscriptions.world import Dapp, deliver, receive, sent
from tests.syncstore.archive import Archive
from walletconnect.crypto.envelope import open_envelope
from walletconnect.identity.did import AppUrl
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify.claims import DeleteAuth, UpdateAuth
from walletconnect.notify.scope import ScopeMap, ScopeSetting
from walletconnect.notify.values import NotifySubscription
from walletconnect.notify.watch_claims import MarkReadAuth
from walletconnect.relay.rpc import parse
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

DAY = 24 * 60 * 60
APPS = ("subscriptions", "syncstore", "keychain", "messaging", "runlog", "accounts")
# A list without changes still causes rows here: an inbox row, and its time.
NOTED = ("accounts_auditentry", "messaging_inboxmessage", "subscriptions_accountwatch")


@pytest.fixture
def server(settings):
    made = CastServer()
    settings.CAST_SERVER_URL = made.url
    yield made
    made.close()


def start_watching(person, server):
    services.watch_accounts()
    deliver(server.answer())
    return person


@pytest.fixture
def watched(alice, server):
    return start_watching(alice, server)


@pytest.fixture
def bridged(synced_alice, server):
    """Alice's account both syncs and watches."""
    return start_watching(synced_alice, server)


def soon():
    return clock.frozen(clock.now() + timedelta(seconds=3))


def complete():
    with soon():
        services.enrich_subscriptions()


def everything():
    return rows_of(*APPS, without=NOTED)


def blocked_sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", ["answer", "list"])
def test_an_answer_and_a_list_at_two_workers_make_one_subscription(
    alice, dapp, server, caplog, first
):
    start_watching(alice, server)
    requested(alice, dapp)
    answer = dapp.answer()
    entry = listed(alice, dapp, sym_key=dapp.key_of(alice.account))
    messages = [answer, server.announcement(entry)]
    receive(*(messages if first == "answer" else reversed(messages)))
    batches = [inbox.claim(limit=1), inbox.claim(limit=1)]
    caplog.set_level(logging.INFO)

    def second_worker():
        try:
            handle(batches[1])
        finally:
            connection.close()

    worker = threading.Thread(target=second_worker)
    with transaction.atomic():
        handle(batches[0])
        worker.start()
        wait_for(blocked_sessions, seconds=20.0, what="a wait for a lock")
    worker.join(30)
    assert "repeated one by one" not in caplog.text
    assert not InboxMessage.objects.exclude(state="handled").exists()
    [row] = Subscription.objects.all()
    assert row.topic == dapp.key_of(alice.account).topic


def announce(server, *entries):
    deliver(server.announcement(*entries))


def only() -> Subscription:
    return Subscription.objects.get()


def store_messages():
    return [row for row in sent() if row.tag in (5000, 5002)]


def entry_of(topic) -> NotifySubscription | None:
    entry = StoreEntry.objects.select_related("store").filter(key=topic).first()
    if entry is None or entry.is_deleted:
        return None
    return NotifySubscription.from_json(
        open_sealed(entry.context, entry.sealed_value).decode()
    )


# --- a listed subscription ------------------------------------------------------------


def test_a_listed_subscription_is_stored(watched, dapp, server):
    entry = listed(watched, dapp, scope=("alerts", "news"))
    announce(server, entry)
    row = only()
    assert (row.account, row.topic) == (watched.account, entry.sym_key.topic)
    assert (row.added_by, row.device, row.expiry) == ("server", None, entry.expiry)
    assert row.dapp_url == dapp.url
    assert row.listed_by.url == server.url
    assert set(ScopeMap.from_value(row.scope).enabled) == {"alerts", "news"}
    topic = TopicSubscription.objects.get(topic=row.topic)
    assert topic.state == "wanted"
    assert sym_keys(Holder.WALLET, [row.topic]) == {row.topic: entry.sym_key}


@pytest.mark.parametrize(
    "domain",
    ["app.example:8443", "10.0.0.1", "-app-.example", "app.example/" + "a" * 600],
)
def test_an_unreachable_dapp_is_skipped(watched, dapp, server, domain):
    entry = listed(watched, dapp)
    planted = listed(watched, dapp, "q", app_domain=domain)
    announce(server, planted, entry)
    assert only().topic == entry.sym_key.topic
    announce(server, planted, entry)
    assert only().topic == entry.sym_key.topic


def test_browsers_receive_events(watched, dapp, server):
    AccountEvent.objects.all().delete()
    announce(server, listed(watched, dapp))
    assert [each.kind for each in AccountEvent.objects.all()] == ["notify.subscription"]


def test_the_dapps_documents_are_read_after_a_delay(watched, dapp, server):
    dapp.config = {
        "schemaVersion": 1,
        "name": "Acme",
        "description": "dapp",
        "types": [
            {"id": "alerts", "name": "Alerts", "description": "Urgent"},
            {"id": "news", "name": "News", "description": "What is new"},
        ],
    }
    announce(server, listed(watched, dapp))
    assert only().metadata["name"] == AppUrl.parse(dapp.url).domain
    complete()
    row = only()
    assert row.metadata["name"] == "Acme"
    assert row.dapp_authentication_did == dapp.key.did
    assert row.scope == {
        "alerts": {"description": "Urgent", "enabled": True},
        "news": {"description": "What is new", "enabled": False},
    }
    assert row.jobs.get(kind="complete").next_attempt_at is None


def test_documents_of_a_known_dapp_are_not_read_again(watched, dapp, server):
    services.look_up_dapp(dapp.url)
    hits = len(dapp.hits)
    announce(server, listed(watched, dapp))
    assert only().dapp_authentication_did == dapp.key.did
    assert not only().jobs.filter(kind="complete").exists()
    assert len(dapp.hits) == hits


def test_unreadable_documents_are_read_again(watched, dapp, server):
    dapp.status = 503
    announce(server, listed(watched, dapp))
    complete()
    assert only().dapp_authentication_did == ""
    dapp.status = 200
    with clock.frozen(clock.now() + timedelta(minutes=15)):
        services.enrich_subscriptions()
    assert only().dapp_authentication_did == dapp.key.did


def test_its_notifications_are_verified_kept_and_answered(watched, dapp, server):
    entry = listed(watched, dapp)
    announce(server, entry)
    complete()
    deliver(v1_notification(watched, dapp, entry, title="Hello"))
    record = NotifyMessageRecord.objects.get()
    assert record.title == "Hello"
    assert record.notification_id
    [receipt] = sent(4003)
    result = parse(open_envelope(receipt.message, entry.sym_key)).result
    claims = DidJwt.parse(result["responseAuth"]).claims
    assert claims["act"] == "notify_message_response"
    assert claims["app"] == AppUrl.parse(dapp.url).did


def test_a_notification_of_a_stranger_is_not_kept(watched, dapp, server):
    entry = listed(watched, dapp)
    announce(server, entry)
    complete()
    stranger = Dapp("stranger")
    try:
        stranger.url, own = dapp.url, stranger.url
        message = v1_notification(watched, stranger, entry)
        stranger.url = own
    finally:
        stranger.close()
    deliver(message)
    assert not NotifyMessageRecord.objects.exists()


def test_bob_and_charlie_see_nothing_of_it(watched, bob, charlie, dapp, server):
    announce(server, listed(watched, dapp))
    rows = Subscription.objects.all()
    assert not rows.of_user(bob.user.pk)
    assert not rows.of_user(charlie.user.pk)


# --- following the list ---------------------------------------------------------------


def test_the_same_list_again_changes_nothing(bridged, dapp, server):
    entries = [listed(bridged, dapp, "p"), listed(bridged, dapp, "q", scope=())]
    announce(server, *entries)
    complete()
    before = everything()
    for _ in range(3):
        announce(server, *entries)
        announce(server, *reversed(entries))
        complete()
    assert everything() == before


def test_a_renewed_watch_with_the_same_list_changes_nothing(bridged, dapp, server):
    entry = listed(bridged, dapp)
    announce(server, entry)
    complete()
    before = len(store_messages())
    with clock.frozen(clock.now() + timedelta(hours=23)):
        services.watch_accounts()
        deliver(server.answer(entry))
        services.enrich_subscriptions()
    assert len(store_messages()) == before


def test_types_and_expiry_follow_the_list(watched, dapp, server):
    entry = listed(watched, dapp)
    announce(server, entry)
    longer = dataclasses.replace(
        entry, scope=("news",), expiry=clock.now_s() + 30 * DAY
    )
    announce(server, longer)
    row = only()
    assert ScopeMap.from_value(row.scope).enabled == ("news",)
    assert row.expiry == longer.expiry


def test_a_subscription_that_is_no_longer_listed_ends(watched, dapp, server):
    entry = listed(watched, dapp)
    announce(server, entry)
    announce(server)
    assert only().delete_reason == "no longer listed by the Cast Server"
    assert TopicSubscription.objects.get(topic=only().topic).state == "unwanted"
    assert not sym_keys(Holder.WALLET, [only().topic])


def test_subscriptions_of_other_cast_servers_are_left_alone(bridged, dapp, server):
    other = OtherWallet(bridged, dapp)
    value = other.subscription("o")
    other.announce(value)
    announce(server, listed(bridged, dapp))
    announce(server)
    active = Subscription.objects.active()
    assert [row.topic for row in active] == [value.topic]
    assert entry_of(value.topic) == value


def test_our_own_subscription_is_v1_once_the_server_lists_it(watched, dapp, server):
    mine = subscribed(watched, dapp)
    entry = listed(
        watched,
        dapp,
        sym_key=dapp.key_of(watched.account),
        expiry=mine.expiry,
        scope=("alerts", "news", "gm_hourly"),
    )
    before = only()
    announce(server, entry)
    assert (only().added_by, only().expiry) == ("subscribe", before.expiry)
    announce(server)
    assert only().deleted_at is not None


def test_a_list_that_overtakes_the_answer_adds_the_subscription_once(
    watched, dapp, server
):
    attempt = requested(watched, dapp)
    answer = dapp.answer()
    announce(server, listed(watched, dapp, sym_key=dapp.key_of(watched.account)))
    assert only().added_by == "server"
    deliver(answer)
    attempt.refresh_from_db()
    assert attempt.subscription == only()
    assert (only().added_by, only().device) == ("subscribe", watched.device)
    assert AuditEntry.objects.filter(action="subscription.added").count() == 1


def test_a_list_from_before_our_delete_revives_nothing(watched, dapp, server):
    entry = listed(watched, dapp)
    announce(server, entry)
    complete()
    services.delete_subscription(only(), watched.device)
    announce(server, entry)
    assert only().deleted_at is not None
    with clock.frozen(clock.now() + timedelta(minutes=10, seconds=1)):
        announce(server, entry)
    assert only().deleted_at is None, (
        "the server has no delete of it, so its list applies"
    )


def test_a_delete_on_the_topic_and_a_shorter_list_end_it_once(bridged, dapp, server):
    entry = listed(bridged, dapp)
    announce(server, entry)
    complete()
    services.delete_subscription(only(), bridged.device)
    [deleted] = [row for row in sent() if row.tag == 5002]
    announce(server)
    assert [row for row in sent() if row.tag == 5002] == [deleted]


def test_an_app_without_an_address_is_left_out(watched, dapp, server):
    odd = listed(watched, dapp, "q", app_domain="not a domain")
    announce(server, odd, listed(watched, dapp))
    assert only().dapp_url == dapp.url


def test_the_limit_of_subscriptions_holds_for_lists(watched, dapp, server, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, subscriptions_per_account=2)
    announce(server, *(listed(watched, dapp, letter) for letter in "pqr"))
    assert Subscription.objects.count() == 2


def test_an_expired_subscription_is_not_added(watched, dapp, server):
    announce(server, listed(watched, dapp, expiry=clock.now_s() - 1))
    assert not Subscription.objects.exists()


# --- the bridge to the shared store ---------------------------------------------------


def test_the_shared_store_gets_one_entry_field_by_field(bridged, dapp, server):
    entry = listed(bridged, dapp)
    announce(server, entry)
    assert not store_messages(), "another wallet may still write it"
    complete()
    [message] = store_messages()
    store = Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE)
    key = sym_keys(Holder.WALLET, [store.topic])[store.topic]
    params = parse(open_envelope(message.message, key)).params
    value = json.loads(params["value"])
    assert params["key"] == entry.sym_key.topic
    assert value == {
        "topic": entry.sym_key.topic,
        "account": bridged.account.address,
        "relay": {"protocol": "irn"},
        "metadata": only().metadata,
        "scope": only().scope,
        "expiry": entry.expiry,
        "symKey": entry.sym_key.hex(),
    }
    assert value["metadata"]["url"] == dapp.url


def test_an_unreadable_dapp_is_stored_at_once_and_again_when_read(
    bridged, dapp, server
):
    dapp.status = 503
    entry = listed(bridged, dapp)
    announce(server, entry)
    complete()
    bare = entry_of(entry.sym_key.topic)
    assert bare.metadata.name == AppUrl.parse(dapp.url).domain
    dapp.status = 200
    dapp.config = {**dapp.config, "name": "Acme"}
    with clock.frozen(clock.now() + timedelta(minutes=15)):
        services.enrich_subscriptions()
    assert entry_of(entry.sym_key.topic).metadata.name == "Acme"
    assert len(store_messages()) == 2


def test_the_store_entry_is_written_once_sync_is_turned_on(
    watched, dapp, server, settings
):
    entry = listed(watched, dapp)
    announce(server, entry)
    complete()
    assert not store_messages()
    archive = Archive()
    settings.HISTORY_SERVER_URL = archive.url
    try:
        enable_sync(watched.account, watched.sync_signature, watched.device)
        cold_start(ColdStart.objects.get().pk)
    finally:
        archive.close()
    assert entry_of(entry.sym_key.topic).sym_key == entry.sym_key


def test_the_entry_of_an_unlisted_subscription_is_deleted_once(bridged, dapp, server):
    entry = listed(bridged, dapp)
    announce(server, entry)
    complete()
    announce(server)
    announce(server)
    assert entry_of(entry.sym_key.topic) is None
    assert [row.tag for row in store_messages()] == [5000, 5002]


def test_new_types_reach_the_store_in_one_update(bridged, dapp, server):
    entry = listed(bridged, dapp)
    announce(server, entry)
    complete()
    changed = dataclasses.replace(entry, scope=("news",))
    announce(server, changed)
    complete()
    assert entry_of(entry.sym_key.topic).scope.enabled == ("news",)
    assert [row.tag for row in store_messages()] == [5000, 5000]


def v0_value(bridged, dapp, entry) -> NotifySubscription:
    """The same subscription as the v0 wallet that made it writes it."""
    return OtherWallet(bridged, dapp).subscription(
        sym_key=entry.sym_key,
        topic=entry.sym_key.topic,
        scope=ScopeMap((ScopeSetting("alerts", "Urgent", enabled=True),)),
        # Its own clock, and the time the answer took.
        expiry=entry.expiry + 40,
    )


ORDERS = [
    order
    for order in itertools.permutations(["list", "list again", "store", "complete"])
    if order.index("list") < order.index("list again")
]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_list_and_store_in_any_order_make_one_row_and_one_entry(
    bridged, dapp, server, order
):
    entry = listed(bridged, dapp)
    other = OtherWallet(bridged, dapp)
    value = v0_value(bridged, dapp, entry)
    happen = {
        "list": lambda: announce(server, entry),
        "list again": lambda: announce(server, entry),
        "store": lambda: other.announce(value),
        "complete": complete,
    }
    for name in order:
        happen[name]()
    complete()
    settled = everything()
    for name in order:
        if name != "store":
            happen[name]()
    assert everything() == settled, "the state is final"
    assert Subscription.objects.count() == 1
    assert StoreEntry.objects.count() == 1
    in_time = order.index("store") < order.index("complete")
    too_early = order.index("complete") < order.index("list")
    assert len(store_messages()) == (0 if in_time or too_early else 1)


def test_an_update_by_a_v0_wallet_is_not_written_twice(bridged, dapp, server):
    """It sends the change to the server and the store; both send it to us."""
    entry = listed(bridged, dapp)
    other = OtherWallet(bridged, dapp)
    value = v0_value(bridged, dapp, entry)
    other.announce(value)
    announce(server, entry)
    off = value.scope.with_enabled(())
    changed = dataclasses.replace(value, scope=off, expiry=clock.now_s() + 30 * DAY)
    announce(
        server, dataclasses.replace(entry, scope=(), expiry=clock.now_s() + 30 * DAY)
    )
    other.announce(changed)
    complete()
    assert not store_messages()
    assert only().with_key(entry.sym_key) == changed


def test_an_update_of_ours_is_not_written_twice(bridged, dapp, server):
    entry = listed(bridged, dapp)
    announce(server, entry)
    complete()
    dapp.keys[bridged.account.address] = entry.sym_key
    services.update(only(), {"news"}, bridged.device)
    deliver(dapp.answer_update(bridged.account))
    changed = dataclasses.replace(
        entry, scope=("news",), expiry=clock.now_s() + 30 * DAY + 5
    )
    announce(server, changed)
    complete()
    assert [row.tag for row in store_messages()] == [5000, 5000]


def test_our_own_entry_changes_nothing_when_it_returns(bridged, dapp, server):
    entry = listed(bridged, dapp)
    announce(server, entry)
    complete()
    [message] = store_messages()
    before = everything()
    deliver((message.topic, message.message, message.tag))
    assert StoreUpdate.objects.latest("pk").outcome == "duplicate"
    after = everything()
    for table in ("syncstore_storeupdate", "syncstore_devicecursor"):
        del before[table], after[table]
    assert after == before, "except for the line in the sync log"


# --- requests in protocol v1 ----------------------------------------------------------


def test_update_and_delete_to_a_v1_server_name_the_app_as_did_web(
    watched, dapp, server
):
    entry = listed(watched, dapp)
    announce(server, entry)
    complete()
    services.update(only(), {"news"}, watched.device)
    services.delete_subscription(only(), watched.device)
    opened = [
        parse(open_envelope(row.message, entry.sym_key))
        for row in (*sent(4008), *sent(4004))
    ]
    now = clock.now_s()
    update = UpdateAuth.read(opened[0].params["updateAuth"], now=now)
    delete = DeleteAuth.read(opened[1].params["deleteAuth"], now=now)
    did = AppUrl.parse(dapp.url).did
    assert (update.app, delete.app) == (did, did)
    assert delete.sub == f"did:pkh:{watched.account.address}"


def test_read_state_is_sent_to_a_v1_server(watched, dapp, server):
    entry = listed(watched, dapp)
    announce(server, entry)
    complete()
    for title in ("one", "two"):
        deliver(v1_notification(watched, dapp, entry, title=title))
    records = NotifyMessageRecord.objects.all()
    services.mark_read(records, watched.device)
    services.mark_read(records, watched.device)
    [row] = sent(4016)
    params = parse(open_envelope(row.message, entry.sym_key)).params
    auth = MarkReadAuth.read(params["auth"], now=clock.now_s(), aud=dapp.key.did)
    assert set(auth.ids) == set(records.values_list("notification_id", flat=True))


def test_read_state_is_not_sent_to_a_v0_server(watched, dapp, server):
    subscribed(watched, dapp)
    deliver(dapp.notification(watched.account))
    services.mark_read(NotifyMessageRecord.objects.all(), watched.device)
    assert not sent(4016)
