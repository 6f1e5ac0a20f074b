"""Read state of v1 clients is applied here, and no update circulates."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.models import AccountEvent
from common import clock, entropy
from subscriptions import services
from subscriptions.models import NotifyMessageRecord, Subscription, SubscriptionJob
from tests.snapshots import rows_of
from tests.subscriptions.cast_server import CastServer, listed, v1_notification
from tests.subscriptions.conftest import subscribed
from tests.subscriptions.world import deliver, sent
from tests.syncstore.archive import Archive
from walletconnect.crypto.envelope import open_envelope
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.did import AccountId, AppUrl
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify.answers import publish_result
from walletconnect.notify.methods import GET_NOTIFICATIONS
from walletconnect.notify.values import NotifyMessage
from walletconnect.notify.watch_claims import (
    GetNotificationsAuth,
    GetNotificationsResponseAuth,
    MarkReadAuth,
)
from walletconnect.relay.rpc import parse

PHONE = IdentityKey.from_seed(b"1.4.1 on a telephone".ljust(32)).did


@pytest.fixture
def server(settings):
    made = CastServer()
    settings.CAST_SERVER_URL = made.url
    yield made
    made.close()


@pytest.fixture
def watched(alice, server):
    services.watch_accounts()
    deliver(server.answer())
    return alice


@pytest.fixture
def entry(watched, dapp, server):
    """A subscription that the server lists, its dapp known."""
    made = listed(watched, dapp)
    announce(server, made)
    with later():
        services.enrich_subscriptions()
    return made


@pytest.fixture
def records(watched, dapp, entry):
    """Three notifications, oldest first."""
    for number, title in enumerate(("one", "two", "three")):
        with clock.frozen(clock.now() + timedelta(milliseconds=20 * number)):
            deliver(v1_notification(watched, dapp, entry, title=title))
    AccountEvent.objects.all().delete()
    return NotifyMessageRecord.objects.order_by("pk")


def later(seconds=3):
    return clock.frozen(clock.now() + timedelta(seconds=seconds))


def announce(server, *entries):
    deliver(server.announcement(*entries))


def counted(watched, dapp, unread):
    return listed(watched, dapp, unread_notification_count=unread)


def ask():
    with later():
        return services.ask_reads()


def asked(dapp, entry) -> list[GetNotificationsAuth]:
    """The page requests to the dapp's server, as it reads them."""
    return [
        GetNotificationsAuth.read(
            parse(open_envelope(row.message, entry.sym_key)).params["auth"],
            now=clock.now_s(),
            aud=dapp.key.did,
        )
        for row in sent(GET_NOTIFICATIONS.tag)
    ]


def page(person, dapp, entry, states, *, aud=PHONE, more=False, **changes):
    """An answer on the notify topic; ``states`` maps records, newest first, to read or not."""
    notes = tuple(
        NotifyMessage(
            record.title,
            record.body,
            record.type,
            id=record.notification_id,
            sent_at=round(record.published_at.timestamp() * 1000),
            is_read=is_read,
        )
        for record, is_read in states
    )
    key = changes.pop("key", dapp.key)
    values = {
        "app": AppUrl.parse(dapp.url).did,
        "sub": AccountId.parse(person.account.address).did,
        **changes,
    }
    token = GetNotificationsResponseAuth(
        iat=clock.now_s(),
        exp=clock.now_s() + 300,
        iss=key.did,
        mjv="1",
        aud=aud,
        nfs=notes,
        mre=more,
        mur=False,
        **values,
    ).sign(key)
    made = publish_result(
        GET_NOTIFICATIONS,
        {GET_NOTIFICATIONS.result: token},
        request_id=clock.payload_id(),
        sym_key=entry.sym_key,
        iv=entropy.iv(),
    )
    return made.topic, made.message, made.tag


def unread():
    found = NotifyMessageRecord.objects.filter(read_at=None).order_by("pk")
    return list(found.values_list("title", flat=True))


# --- requests -------------------------------------------------------------------------


def test_a_different_count_causes_one_request_after_a_delay(
    watched, dapp, server, entry, records
):
    announce(server, counted(watched, dapp, 2))
    announce(server, counted(watched, dapp, 1))
    services.ask_reads()
    assert asked(dapp, entry) == []
    ask()
    ask()
    [auth] = asked(dapp, entry)
    assert (auth.lmt, auth.aft, auth.app) == (50, None, AppUrl.parse(dapp.url).did)
    assert auth.account.same_as(AccountId.parse(watched.account.address))


def test_an_equal_count_causes_no_request(watched, dapp, server, entry, records):
    announce(server, counted(watched, dapp, 3))
    ask()
    services.mark_read(records, watched.device)
    # The server sends another list before it has read our request.
    announce(server, counted(watched, dapp, 3))
    announce(server, counted(watched, dapp, 0))
    ask()
    assert asked(dapp, entry) == []


def test_older_unread_notifications_are_requested_once(watched, dapp, server, entry):
    for _ in range(3):
        announce(server, counted(watched, dapp, 7))
        ask()
    assert len(asked(dapp, entry)) == 1


def test_a_v0_server_is_not_asked(watched, dapp):
    subscribed(watched, dapp)
    deliver(dapp.notification(watched.account))
    rows = Subscription.objects.all()
    SubscriptionJob.objects.schedule(SubscriptionJob.Kind.READS, rows)
    ask()
    assert not sent(GET_NOTIFICATIONS.tag)


def test_an_identity_for_one_app_does_not_ask(watched, dapp, server, entry, records):
    announce(server, counted(watched, dapp, 0))
    watched.account.identity_keys.update(retired_at=clock.now())
    ask()
    assert asked(dapp, entry) == []


def test_a_replay_of_history_causes_a_request_for_the_read_state(
    watched, dapp, server, settings
):
    made = listed(watched, dapp)
    announce(server, made)
    with later():
        services.enrich_subscriptions()
    archive = Archive()
    settings.HISTORY_SERVER_URL = archive.url
    settings.HISTORY_SERVER_IS_OURS = False
    archive.keep(*v1_notification(watched, dapp, made, title="of old")[:2])
    try:
        with later():
            assert services.replay_due() == 1
            ask()
    finally:
        archive.close()
    assert unread() == ["of old"]
    assert len(asked(dapp, made)) == 1


# --- read state of the server ---------------------------------------------------------


def test_notifications_read_at_the_server_are_marked_read(
    watched, dapp, entry, records
):
    one, two, three = records
    deliver(page(watched, dapp, entry, [(three, False), (two, True), (one, True)]))
    assert unread() == ["three"]
    one.refresh_from_db()
    assert one.read_by is None
    found = AccountEvent.objects.order_by("sequence").values_list("kind", "subject")
    assert list(found) == [
        ("read.changed", f"subscriptions.notifymessagerecord:{each.pk}")
        for each in (one, two)
    ]


def test_read_state_from_the_server_is_not_sent_back(watched, dapp, entry, records):
    deliver(page(watched, dapp, entry, [(record, True) for record in records]))
    services.mark_read(records, watched.device)
    assert not sent(4016)


def test_the_same_page_again_changes_nothing(watched, dapp, entry, records):
    states = [(record, True) for record in records]
    deliver(page(watched, dapp, entry, states))
    before = rows_of("subscriptions", "accounts")
    deliver(page(watched, dapp, entry, states))
    assert rows_of("subscriptions", "accounts") == before


def test_a_notification_marked_unread_again_stays_unread(
    watched, dapp, server, entry, records
):
    services.mark_read(records, watched.device)
    services.mark_unread(records[:1], watched.device)
    announce(server, counted(watched, dapp, 0))
    ask()
    deliver(page(watched, dapp, entry, [(record, True) for record in records]))
    assert unread() == ["one"]
    services.mark_read(records, watched.device)
    assert len(sent(4016)) == 1, "sent the first time"


def test_notifications_unread_at_the_server_are_left_alone(
    watched, dapp, entry, records
):
    services.mark_read(records[:1], watched.device)
    deliver(page(watched, dapp, entry, [(record, False) for record in records]))
    assert unread() == ["two", "three"]


# --- pages ----------------------------------------------------------------------------


def own_page(watched, dapp, entry, states, **changes):
    """The answer to our last request."""
    return page(watched, dapp, entry, states, aud=asked(dapp, entry)[-1].iss, **changes)


def test_older_pages_are_requested_while_the_counts_differ(
    watched, dapp, server, entry, records
):
    one, two, three = records
    announce(server, counted(watched, dapp, 1))
    ask()
    deliver(own_page(watched, dapp, entry, [(three, False)], more=True))
    assert asked(dapp, entry)[-1].aft == three.notification_id
    deliver(own_page(watched, dapp, entry, [(two, True)], more=True))
    assert asked(dapp, entry)[-1].aft == two.notification_id
    deliver(own_page(watched, dapp, entry, [(one, True)], more=True))
    assert len(asked(dapp, entry)) == 3
    assert unread() == ["three"]


def test_no_page_is_requested_after_the_last(watched, dapp, server, entry, records):
    announce(server, counted(watched, dapp, 1))
    ask()
    deliver(own_page(watched, dapp, entry, [(records[2], False)]))
    assert len(asked(dapp, entry)) == 1


def test_pages_for_another_client_are_not_continued(watched, dapp, entry, records):
    deliver(page(watched, dapp, entry, [(records[2], True)], more=True))
    assert unread() == ["one", "two"]
    assert asked(dapp, entry) == []


# --- refusals -------------------------------------------------------------------------


@pytest.mark.parametrize("lie", ["signer", "account", "app"])
def test_a_page_that_is_not_the_dapps_own_changes_nothing(
    watched, bob, dapp, entry, records, lie
):
    changes = {
        "signer": {"key": IdentityKey.from_seed(b"thief".ljust(32))},
        "account": {"sub": AccountId.parse(bob.account.address).did},
        "app": {"app": "did:web:other.example.org"},
    }[lie]
    states = [(record, True) for record in records]
    deliver(page(watched, dapp, entry, states, **changes))
    assert unread() == ["one", "two", "three"]


def test_bobs_and_charlies_stay_unread(watched, bob, dapp, server, entry, records):
    subscribed(bob, dapp)
    deliver(dapp.notification(bob.account, title="Bob's"))
    NotifyMessageRecord.objects.filter(title="Bob's").update(
        notification_id=records[0].notification_id
    )
    deliver(page(watched, dapp, entry, [(records[0], True)]))
    assert unread() == ["two", "three", "Bob's"]


# --- sending --------------------------------------------------------------------------


def marked(entry) -> list[set[str]]:
    """The ids that were sent to the server as read, by request."""
    requests = [parse(open_envelope(row.message, entry.sym_key)) for row in sent(4016)]
    tokens = [DidJwt.parse(request.params["auth"]) for request in requests]
    return [set(MarkReadAuth.from_claims(token.claims).ids) for token in tokens]


def test_read_state_from_before_the_listing_is_sent_with_the_list(
    watched, dapp, server, entry, records
):
    Subscription.objects.update(listed_by=None)
    services.mark_read(records[:2], watched.device)
    assert marked(entry) == []
    announce(server, counted(watched, dapp, 3))
    announce(server, counted(watched, dapp, 3))
    assert marked(entry) == [{each.notification_id for each in records[:2]}]
    ask()
    assert asked(dapp, entry)[1:] == []


def test_unsent_read_state_is_sent_with_the_next_list(
    watched, dapp, server, entry, records
):
    keys = watched.account.identity_keys
    before = list(keys.values_list("pk", flat=True))
    keys.update(retired_at=clock.now())
    services.mark_read(records, watched.device)
    assert marked(entry) == []
    keys.filter(pk__in=before).update(retired_at=None)
    announce(server, counted(watched, dapp, 3))
    assert marked(entry) == [{each.notification_id for each in records}]


def test_lost_read_state_is_sent_again(watched, dapp, server, entry, records):
    services.mark_read(records, watched.device)
    unheard = [(record, False) for record in reversed(records)]
    deliver(page(watched, dapp, entry, unheard))
    assert len(marked(entry)) == 1, "it is on its way"
    with later(seconds=15 * 60):
        deliver(page(watched, dapp, entry, unheard))
        deliver(page(watched, dapp, entry, unheard))
    ids = {record.notification_id for record in records}
    assert marked(entry) == [ids, ids]


def test_read_state_of_an_older_topic_is_sent_on_the_present_one(
    watched, dapp, server, entry, records
):
    newer = listed(watched, dapp, letter="q")
    announce(server, newer)
    assert Subscription.objects.active().get().topic == newer.sym_key.topic
    services.mark_read(records, watched.device)
    [row] = sent(4016)
    assert row.topic == newer.sym_key.topic
