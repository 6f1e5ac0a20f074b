"""Wx adopts what other wallets of the account write into the shared store."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import AccountEvent
from common import clock, entropy
from keychain.services import Holder, sym_keys
from messaging.models import TopicSubscription
from subscriptions import services
from subscriptions.models import (
    NotifyMessageRecord,
    SubscribeAttempt,
    Subscription,
    SubscriptionJob,
)
from syncstore.models import ColdStart, Store, StoreEntry, StoreUpdate
from syncstore.services import cold_start, enable_sync, start_new_group
from tests.subscriptions.conftest import subscribed
from tests.subscriptions.world import Dapp, deliver, sent
from tests.syncstore.archive import Archive
from tests.syncstore.test_enable_sync import sign_otherwise
from walletconnect.crypto.keys import SymKey
from walletconnect.identity.did import AccountId
from walletconnect.notify.scope import ScopeMap, ScopeSetting
from walletconnect.notify.values import Metadata, NotifySubscription
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE
from walletconnect.sync.store import StoreDelete, StoreSet, publish_update

DAY = 24 * 60 * 60


class OtherWallet:
    """Another wallet of the account: it has the store key and subscribes by itself."""

    def __init__(self, person, dapp: Dapp) -> None:
        self.person = person
        self.dapp = dapp
        store = Store.objects.get(
            account=person.account, name=NOTIFY_SUBSCRIPTION_STORE
        )
        self.key = sym_keys(Holder.WALLET, [store.topic])[store.topic]
        self.last_id = clock.payload_id()

    def subscription(self, letter: str = "p", **changes) -> NotifySubscription:
        made = NotifySubscription(
            topic=SymKey(letter.encode() * 32).topic,
            account=AccountId.parse(self.person.account.address),
            metadata=Metadata("Acme", "a dapp", self.dapp.url),
            scope=ScopeMap((ScopeSetting("alerts", "Urgent", enabled=True),)),
            expiry=clock.now_s() + 20 * DAY,
            sym_key=SymKey(letter.encode() * 32),
        )
        return dataclasses.replace(made, **changes)

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def message(self, update) -> tuple[str, str, int]:
        made = publish_update(update, self.key, iv=entropy.iv())
        return made.topic, made.message, made.tag

    def announce(self, value: NotifySubscription | str, key: str | None = None):
        text = value if isinstance(value, str) else value.to_json()
        topic = key or value.topic
        deliver(self.message(StoreSet(topic, text, self.next_id())))

    def leave(self, topic: str) -> None:
        deliver(self.message(StoreDelete(topic, self.next_id())))


@pytest.fixture
def other(synced_alice, dapp):
    return OtherWallet(synced_alice, dapp)


def note() -> str:
    return StoreUpdate.objects.latest("pk").note


def test_the_subscription_is_stored_field_by_field(synced_alice, other):
    value = other.subscription()
    other.announce(value)
    row = Subscription.objects.get()
    assert row.account == synced_alice.account
    assert row.with_key(value.sym_key) == value
    assert (row.added_by, row.device) == ("sync", None)


def test_the_notify_topic_is_wanted_and_its_key_kept(other):
    value = other.subscription()
    other.announce(value)
    topic = TopicSubscription.objects.get(topic=value.topic)
    assert topic.state == "wanted"
    assert sym_keys(Holder.WALLET, [value.topic]) == {value.topic: value.sym_key}


def test_browsers_receive_events(synced_alice, other):
    AccountEvent.objects.all().delete()
    other.announce(other.subscription())
    kinds = AccountEvent.objects.order_by("sequence").values_list("kind", flat=True)
    assert sorted(kinds) == ["notify.subscription", "sync.update"]


def test_its_notifications_are_read_once_the_dapps_key_is_learnt(
    synced_alice, other, dapp
):
    value = other.subscription()
    other.announce(value)
    assert Subscription.objects.get().dapp_authentication_did == ""
    assert services.learn_dapps() == 1
    message = dapp.notification(synced_alice.account, sym_key=value.sym_key)
    deliver(message)
    record = NotifyMessageRecord.objects.get()
    assert record.subscription.topic == value.topic
    assert len(sent(4003)) == 1


def test_a_known_dapps_key_is_set_at_once(synced_alice, other, dapp):
    services.look_up_dapp(dapp.url)
    other.announce(other.subscription())
    assert Subscription.objects.get().dapp_authentication_did == dapp.key.did


def test_the_dapp_url_of_another_wallet_is_normalized(synced_alice, other, dapp):
    services.look_up_dapp(dapp.url)
    value = other.subscription()
    spelled = dataclasses.replace(
        value.metadata, url=dapp.url.replace("localhost", "LOCALHOST") + "/"
    )
    other.announce(dataclasses.replace(value, metadata=spelled))
    row = Subscription.objects.get()
    assert (row.dapp_url, row.metadata["url"]) == (dapp.url, spelled.url)
    assert row.dapp_authentication_did == dapp.key.did
    deliver(dapp.notification(synced_alice.account, sym_key=value.sym_key))
    assert NotifyMessageRecord.objects.count() == 1


def test_new_types_and_expiry_are_mirrored(other):
    value = other.subscription()
    other.announce(value)
    changed = dataclasses.replace(
        value,
        scope=value.scope.with_enabled(()),
        expiry=value.expiry + DAY,
    )
    other.announce(changed)
    row = Subscription.objects.get()
    assert row.with_key(value.sym_key) == changed
    assert "all types off" in note()


def test_an_older_update_that_comes_late_changes_nothing(other):
    value = other.subscription()
    late = other.message(
        StoreSet(
            value.topic,
            dataclasses.replace(value, scope=value.scope.with_enabled(())).to_json(),
            other.next_id(),
        )
    )
    other.announce(value)
    deliver(late)
    assert Subscription.objects.get().with_key(value.sym_key) == value


def test_a_delete_by_another_wallet_ends_it_here(other):
    value = other.subscription()
    other.announce(value)
    other.leave(value.topic)
    row = Subscription.objects.get()
    assert row.delete_reason == "unsubscribed by another wallet"
    assert TopicSubscription.objects.get(topic=value.topic).state == "unwanted"
    assert not sym_keys(Holder.WALLET, [value.topic])
    assert not sent(4004), "the other wallet has sent the delete"


def test_a_subscription_may_come_back(other):
    value = other.subscription()
    other.announce(value)
    other.leave(value.topic)
    other.announce(value)
    row = Subscription.objects.get()
    assert row.deleted_at is None
    assert sym_keys(Holder.WALLET, [value.topic])
    assert TopicSubscription.objects.get(topic=value.topic).state == "wanted"


def test_our_own_store_message_changes_nothing_when_it_returns(synced_alice, dapp):
    row = subscribed(synced_alice, dapp)
    before = Subscription.objects.values().get()
    (published,) = sent(5000)
    deliver((published.topic, published.message, published.tag))
    assert Subscription.objects.values().get() == before
    row.refresh_from_db()
    assert row.added_by == "subscribe"


def test_many_subscriptions_in_one_batch(other):
    values = [other.subscription(letter) for letter in "abcdef"]
    deliver(
        *(
            other.message(StoreSet(value.topic, value.to_json(), other.next_id()))
            for value in values
        )
    )
    assert Subscription.objects.count() == 6


def test_bob_and_charlie_see_nothing(other, bob, charlie):
    other.announce(other.subscription())
    for person in (bob, charlie):
        assert not Subscription.objects.of_user(person.user.pk).exists()
        assert not AccountEvent.objects.filter(
            user=person.user, kind__startswith="notify"
        ).exists()


# --- a hostile device of the account ------------------------------------------------------


def hostile(other, name):
    value = other.subscription("z")  # its hex has letters
    members = json.loads(value.to_json())
    changes = {
        "topic of another key": {"symKey": "ab" * 32},
        "another account": {"account": "eip155:1:0x" + "11" * 20},
        "another relay protocol": {"relay": {"protocol": "evil"}},
        "expired": {"expiry": clock.now_s() - 1},
        "expires in years": {"expiry": clock.now_s() + 400 * DAY},
        "milliseconds": {"expiry": clock.now_ms()},
        "key in capitals": {"symKey": value.sym_key.hex().upper()},
        "no scope": {"scope": None},
        "scope of no flags": {"scope": {"alerts": {"enabled": "yes"}}},
        "no metadata": {"metadata": {}},
        "endless name": {
            "metadata": {
                "name": "n" * 10_000,
                "description": "",
                "url": "https://a",
                "icons": [],
            }
        },
        "zero character": {
            "metadata": {
                "name": "n",
                "description": "a\x00b",
                "url": "https://a.example",
                "icons": [],
            }
        },
    }
    return value.topic, json.dumps(members | changes[name])


@pytest.mark.parametrize(
    "name",
    [
        "topic of another key",
        "another account",
        "another relay protocol",
        "expired",
        "expires in years",
        "milliseconds",
        "key in capitals",
        "no scope",
        "scope of no flags",
        "no metadata",
        "endless name",
        "zero character",
    ],
)
def test_an_invalid_entry_stays_in_the_store_without_effect(name, other):
    key, text = hostile(other, name)
    other.announce(text, key=key)
    assert not Subscription.objects.exists()
    assert not TopicSubscription.objects.filter(topic=key).exists()
    assert StoreEntry.objects.get(key=key).is_deleted is False
    assert note().startswith("not adopted")


UNUSABLE = [
    "x",
    "dapp",
    "javascript:alert(1)",
    "http://app.example",
    "https://app.example:8443",
    "https://u:p@app.example",
    "https://10.0.0.1",
    "https://127.1",
    "https://-app-.example",
    "https://" + "a" * 64 + ".example",
    "https://app.example/" + "a" * 600,
]


@pytest.mark.parametrize("url", UNUSABLE)
def test_an_entry_whose_dapp_cannot_be_reached_is_not_adopted(url, other):
    value = other.subscription()
    metadata = dataclasses.replace(value.metadata, url=url)
    other.announce(dataclasses.replace(value, metadata=metadata))
    assert not Subscription.objects.exists()
    assert not TopicSubscription.objects.filter(topic=value.topic).exists()
    # What all devices hold stays the same.
    assert StoreEntry.objects.get(key=value.topic).is_deleted is False
    assert note().startswith("not adopted: That")
    assert services.learn_dapps() == 0


def test_a_subscription_is_not_moved_to_an_address_that_cannot_be_reached(other, dapp):
    value = other.subscription()
    other.announce(value)
    metadata = dataclasses.replace(value.metadata, url="http://10.0.0.1/")
    other.announce(dataclasses.replace(value, metadata=metadata))
    row = Subscription.objects.get()
    assert (row.dapp_url, row.metadata["url"]) == (dapp.url, dapp.url)
    assert note().startswith("not adopted")


def test_planted_entries_do_not_delay_reading_a_dapp(other, dapp):
    value = other.subscription()
    for number in range(55):
        planted = other.subscription(chr(ord("A") + number))
        metadata = dataclasses.replace(value.metadata, url=f"http://a{number}.example")
        other.announce(dataclasses.replace(planted, metadata=metadata))
    other.announce(other.subscription("z"))
    services.learn_dapps()
    row = Subscription.objects.get()
    assert row.dapp_authentication_did == dapp.key.did


def test_texts_of_other_wallets_are_cleaned(other):
    members = json.loads(other.subscription().to_json())
    members["scope"]["alerts"] = {"description": "Urgent.\nNow.", "enabled": True}
    members["metadata"]["description"] = "A dapp.\nSince 2020."
    members["metadata"]["icons"] = [None, "https://a.example/i.png"]
    other.announce(json.dumps(members), key=members["topic"])
    row = Subscription.objects.get()
    assert row.scope["alerts"]["description"] == "Urgent. Now."
    assert row.metadata["description"] == "A dapp. Since 2020."
    assert row.metadata["icons"] == ["https://a.example/i.png"]


@pytest.mark.parametrize("text", ["", "{}", "null", "[1]", "not json", "9" * 400])
def test_garbage_has_no_effect(text, other):
    other.announce(text, key="k")
    assert not Subscription.objects.exists()
    assert note().startswith("not adopted")


def test_an_entry_under_a_foreign_key_has_no_effect(other):
    value = other.subscription()
    other.announce(value.to_json(), key=other.subscription("q").topic)
    assert not Subscription.objects.exists()


def test_a_flood_of_subscriptions_stops_at_the_limit(other, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, subscriptions_per_account=2)
    for letter in "abc":
        other.announce(other.subscription(letter))
    assert Subscription.objects.active().count() == 2
    assert "too many" in note()


def test_a_swapped_dapp_does_not_keep_the_pinned_key(other, dapp):
    services.look_up_dapp(dapp.url)
    value = other.subscription()
    other.announce(value)
    swapped = dataclasses.replace(
        value, metadata=dataclasses.replace(value.metadata, url="https://evil.example")
    )
    other.announce(swapped)
    row = Subscription.objects.get()
    assert row.dapp_url == "https://evil.example"
    assert row.dapp_authentication_did == ""


# --- order and repetition ---------------------------------------------------------------


STEPS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["on", "off", "leave"])),
    min_size=1,
    max_size=6,
)


@hypothesis_settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS, draw=st.data())
def test_any_order_and_repetition_ends_in_the_same_subscriptions(other, steps, draw):
    """The newest update of each entry wins, in any order of arrival."""
    from django.db import transaction

    updates = []
    for letter, act in steps:
        value = other.subscription(letter, expiry=2_000_000_000)
        value = dataclasses.replace(value, expiry=clock.now_s() // DAY * DAY + 9 * DAY)
        if act == "off":
            value = dataclasses.replace(value, scope=value.scope.with_enabled(()))
        update_id = other.next_id()
        updates.append(
            StoreDelete(value.topic, update_id)
            if act == "leave"
            else StoreSet(value.topic, value.to_json(), update_id)
        )
    newest = {update.key: update for update in updates}
    again = draw.draw(st.lists(st.sampled_from(updates), max_size=3))
    for_delivery = draw.draw(st.permutations([*updates, *again]))
    with transaction.atomic():
        for update in for_delivery:
            deliver(other.message(update))
        active = {row.topic: row for row in Subscription.objects.active()}
        assert set(active) == {
            key for key, update in newest.items() if isinstance(update, StoreSet)
        }
        for topic, row in active.items():
            expected = NotifySubscription.from_json(newest[topic].value)
            assert row.with_key(expected.sym_key) == expected
        transaction.set_rollback(True)


# --- a cold start -----------------------------------------------------------------------


@pytest.fixture
def archive(settings):
    made = Archive()
    settings.HISTORY_SERVER_URL = made.url
    settings.HISTORY_SERVER_IS_OURS = False
    yield made
    made.close()


def test_a_new_account_is_rebuilt_with_its_messages(archive, synced_alice, other, dapp):
    kept, left = other.subscription("a"), other.subscription("b")
    for update in (
        StoreSet(kept.topic, kept.to_json(), 10),
        StoreSet(left.topic, left.to_json(), 11),
        StoreDelete(left.topic, 12),
    ):
        topic, message, _ = other.message(update)
        archive.keep(topic, message)
    titles = [f"message {number}" for number in range(5)]
    for number, title in enumerate(titles):
        topic, message, _ = dapp.notification(
            synced_alice.account,
            sym_key=kept.sym_key,
            title=title,
            request_id=1000 + number,
            now=clock.now_s() - 40 * DAY + number,
        )
        archive.keep(topic, message)

    assert cold_start(ColdStart.objects.get().pk) is True
    row = Subscription.objects.active().get()
    assert (row.topic, row.added_by) == (kept.topic, "history")
    assert services.replay_due() == 0, "the dapp's key comes first"
    services.learn_dapps()
    assert services.replay_due() == 1
    assert services.replay_due() == 0
    records = NotifyMessageRecord.objects.order_by("published_at")
    assert [record.title for record in records] == titles
    assert not sent(4003), "no receipts for expired tokens"


def test_a_message_from_history_and_mailbox_is_stored_once(
    archive, synced_alice, other, dapp
):
    value = other.subscription()
    other.announce(value)
    services.learn_dapps()
    message = dapp.notification(synced_alice.account, sym_key=value.sym_key)
    archive.keep(message[0], message[1])
    deliver(message)
    services.replay_due()
    assert NotifyMessageRecord.objects.count() == 1
    assert len(sent(4003)) == 1


def test_an_unreachable_history_server_is_reported_and_retried(archive, other, dapp):
    services.look_up_dapp(dapp.url)
    other.announce(other.subscription())
    archive.status = 500
    assert services.replay_due() == 1
    job = Subscription.objects.get().jobs.get(kind="history")
    assert "500" in job.reason
    assert job.next_attempt_at > clock.now()
    archive.status = 200
    SubscriptionJob.objects.update(next_attempt_at=clock.now())
    services.replay_due()
    job.refresh_from_db()
    assert (job.reason, job.next_attempt_at) == ("", None)


def test_what_was_subscribed_before_sync_is_announced_after_the_replay(
    archive, alice, dapp
):
    row = subscribed(alice, dapp)
    assert row.attempts.get().state == SubscribeAttempt.State.SETTLED
    enable_sync(alice.account, alice.sync_signature, alice.device)
    assert not sent(5000), "not before the replay"
    cold_start(ColdStart.objects.get().pk)
    assert StoreEntry.objects.get().key == row.topic
    assert len(sent(5000)) == 1
    assert row.attempts.get().state == SubscribeAttempt.State.SYNCED


def test_a_new_group_gets_the_subscriptions_of_the_former_one(
    archive, synced_alice, dapp
):
    row = subscribed(synced_alice, dapp)
    cold_start(ColdStart.objects.get().pk)
    former = Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE)
    other = sign_otherwise(synced_alice)
    made, *_ = start_new_group(synced_alice.account, other, synced_alice.device)
    assert not StoreEntry.objects.exists()
    cold_start(ColdStart.objects.get().pk)
    entry = StoreEntry.objects.get(store=made)
    assert (entry.store, entry.key) == (made, row.topic)
    assert Subscription.objects.active().get() == row
    topics = [message.topic for message in sent(5000)]
    assert topics.count(former.topic) == topics.count(made.topic) == 1
