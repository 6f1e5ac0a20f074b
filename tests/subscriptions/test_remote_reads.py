"""What was read in a client of the later generation is read here, and nothing goes in circles."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.models import AccountEvent
from common import clock, entropy
from subscriptions import services
from subscriptions.models import NotifyMessageRecord, Subscription, SubscriptionJob
from tests.snapshots import rows_of
from tests.subscriptions.cast_server import CastServer, later_notification, listed
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
    tell(server, made)
    with later():
        services.enrich_subscriptions()
    return made


@pytest.fixture
def records(watched, dapp, entry):
    """Three notifications, oldest first."""
    for number, title in enumerate(("one", "two", "three")):
        with clock.frozen(clock.now() + timedelta(milliseconds=20 * number)):
            deliver(later_notification(watched, dapp, entry, title=title))
    AccountEvent.objects.all().delete()
    return NotifyMessageRecord.objects.order_by("pk")


def later(seconds=3):
    return clock.frozen(clock.now() + timedelta(seconds=seconds))


def tell(server, *entries):
    deliver(server.announcement(*entries))


def counted(watched, dapp, unread):
    return listed(watched, dapp, unread_notification_count=unread)


def ask():
    with later():
        return services.ask_reads()


def asked(dapp, entry) -> list[GetNotificationsAuth]:
    """The requests for pages that the dapp's server got, as it reads them."""
    return [
        GetNotificationsAuth.read(
            parse(open_envelope(row.message, entry.sym_key)).params["auth"],
            now=clock.now_s(),
            aud=dapp.key.did,
        )
        for row in sent(GET_NOTIFICATIONS.tag)
    ]


def page(person, dapp, entry, told, *, aud=PHONE, more=False, **changes):
    """An answer on the notify topic; ``told`` is of records, newest first: read or not."""
    notes = tuple(
        NotifyMessage(
            record.title,
            record.body,
            record.type,
            id=record.notification_id,
            sent_at=round(record.published_at.timestamp() * 1000),
            is_read=is_read,
        )
        for record, is_read in told
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


# --- asking ---------------------------------------------------------------------------


def test_another_count_is_asked_about_once_and_a_moment_later(
    watched, dapp, server, entry, records
):
    tell(server, counted(watched, dapp, 2))
    tell(server, counted(watched, dapp, 1))
    services.ask_reads()
    assert asked(dapp, entry) == []
    ask()
    ask()
    [auth] = asked(dapp, entry)
    assert (auth.lmt, auth.aft, auth.app) == (50, None, AppUrl.parse(dapp.url).did)
    assert auth.account.same_as(AccountId.parse(watched.account.address))


def test_the_count_that_we_know_is_nothing_to_ask_about(
    watched, dapp, server, entry, records
):
    tell(server, counted(watched, dapp, 3))
    ask()
    services.mark_read(records, watched.device)
    # The server reads our mark a moment after it has told us another change.
    tell(server, counted(watched, dapp, 3))
    tell(server, counted(watched, dapp, 0))
    ask()
    assert asked(dapp, entry) == []


def test_what_came_before_us_is_asked_about_once(watched, dapp, server, entry):
    for _ in range(3):
        tell(server, counted(watched, dapp, 7))
        ask()
    assert len(asked(dapp, entry)) == 1


def test_a_server_of_august_is_not_asked(watched, dapp):
    subscribed(watched, dapp)
    deliver(dapp.notification(watched.account))
    rows = Subscription.objects.all()
    SubscriptionJob.objects.schedule(SubscriptionJob.Kind.READS, rows)
    ask()
    assert not sent(GET_NOTIFICATIONS.tag)


def test_who_may_not_see_all_apps_does_not_ask(watched, dapp, server, entry, records):
    tell(server, counted(watched, dapp, 0))
    watched.account.identity_keys.update(retired_at=clock.now())
    ask()
    assert asked(dapp, entry) == []


def test_after_a_replay_from_history_it_is_asked_what_was_read(
    watched, dapp, server, settings
):
    made = listed(watched, dapp)
    tell(server, made)
    with later():
        services.enrich_subscriptions()
    archive = Archive()
    settings.HISTORY_SERVER_URL = archive.url
    settings.HISTORY_SERVER_IS_OURS = False
    archive.keep(*later_notification(watched, dapp, made, title="of old")[:2])
    try:
        with later():
            assert services.replay_due() == 1
            ask()
    finally:
        archive.close()
    assert unread() == ["of old"]
    assert len(asked(dapp, made)) == 1


# --- being told -----------------------------------------------------------------------


def test_what_is_read_there_is_read_here(watched, dapp, entry, records):
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


def test_the_server_is_not_told_what_it_has_told_us(watched, dapp, entry, records):
    deliver(page(watched, dapp, entry, [(record, True) for record in records]))
    services.mark_read(records, watched.device)
    assert not sent(4016)


def test_the_same_page_again_changes_nothing(watched, dapp, entry, records):
    told = [(record, True) for record in records]
    deliver(page(watched, dapp, entry, told))
    before = rows_of("subscriptions", "accounts")
    deliver(page(watched, dapp, entry, told))
    assert rows_of("subscriptions", "accounts") == before


def test_what_a_person_marks_as_unread_again_stays_so(
    watched, dapp, server, entry, records
):
    services.mark_read(records, watched.device)
    services.mark_unread(records[:1], watched.device)
    tell(server, counted(watched, dapp, 0))
    ask()
    deliver(page(watched, dapp, entry, [(record, True) for record in records]))
    assert unread() == ["one"]
    services.mark_read(records, watched.device)
    assert len(sent(4016)) == 1, "the server was told the first time"


def test_what_is_unread_there_stays_as_it_is_here(watched, dapp, entry, records):
    services.mark_read(records[:1], watched.device)
    deliver(page(watched, dapp, entry, [(record, False) for record in records]))
    assert unread() == ["two", "three"]


# --- pages ----------------------------------------------------------------------------


def own_page(watched, dapp, entry, told, **changes):
    """The answer to our last request."""
    return page(watched, dapp, entry, told, aud=asked(dapp, entry)[-1].iss, **changes)


def test_older_ones_are_asked_for_as_long_as_the_counts_differ(
    watched, dapp, server, entry, records
):
    one, two, three = records
    tell(server, counted(watched, dapp, 1))
    ask()
    deliver(own_page(watched, dapp, entry, [(three, False)], more=True))
    assert asked(dapp, entry)[-1].aft == three.notification_id
    deliver(own_page(watched, dapp, entry, [(two, True)], more=True))
    assert asked(dapp, entry)[-1].aft == two.notification_id
    deliver(own_page(watched, dapp, entry, [(one, True)], more=True))
    assert len(asked(dapp, entry)) == 3
    assert unread() == ["three"]


def test_the_last_page_is_the_last(watched, dapp, server, entry, records):
    tell(server, counted(watched, dapp, 1))
    ask()
    deliver(own_page(watched, dapp, entry, [(records[2], False)]))
    assert len(asked(dapp, entry)) == 1


def test_the_question_of_another_client_is_not_continued(watched, dapp, entry, records):
    deliver(page(watched, dapp, entry, [(records[2], True)], more=True))
    assert unread() == ["one", "two"]
    assert asked(dapp, entry) == []


# --- who may not ----------------------------------------------------------------------


@pytest.mark.parametrize("lie", ["signer", "account", "app"])
def test_a_page_that_is_not_the_dapps_own_changes_nothing(
    watched, bob, dapp, entry, records, lie
):
    changes = {
        "signer": {"key": IdentityKey.from_seed(b"thief".ljust(32))},
        "account": {"sub": AccountId.parse(bob.account.address).did},
        "app": {"app": "did:web:other.example.org"},
    }[lie]
    told = [(record, True) for record in records]
    deliver(page(watched, dapp, entry, told, **changes))
    assert unread() == ["one", "two", "three"]


def test_bobs_and_charlies_stay_unread(watched, bob, dapp, server, entry, records):
    subscribed(bob, dapp)
    deliver(dapp.notification(bob.account, title="Bob's"))
    NotifyMessageRecord.objects.filter(title="Bob's").update(
        notification_id=records[0].notification_id
    )
    deliver(page(watched, dapp, entry, [(records[0], True)]))
    assert unread() == ["two", "three", "Bob's"]


# --- telling --------------------------------------------------------------------------


def marked(entry) -> list[set[str]]:
    """What the server was told is read, by request."""
    requests = [parse(open_envelope(row.message, entry.sym_key)) for row in sent(4016)]
    tokens = [DidJwt.parse(request.params["auth"]) for request in requests]
    return [set(MarkReadAuth.from_claims(token.claims).ids) for token in tokens]


def test_what_was_read_before_the_server_listed_it_is_told_then(
    watched, dapp, server, entry, records
):
    Subscription.objects.update(listed_by=None)
    services.mark_read(records[:2], watched.device)
    assert marked(entry) == []
    tell(server, counted(watched, dapp, 3))
    tell(server, counted(watched, dapp, 3))
    assert marked(entry) == [{each.notification_id for each in records[:2]}]
    ask()
    assert asked(dapp, entry)[1:] == []


def test_what_nobody_could_tell_is_told_with_a_later_list(
    watched, dapp, server, entry, records
):
    keys = watched.account.identity_keys
    before = list(keys.values_list("pk", flat=True))
    keys.update(retired_at=clock.now())
    services.mark_read(records, watched.device)
    assert marked(entry) == []
    keys.filter(pk__in=before).update(retired_at=None)
    tell(server, counted(watched, dapp, 3))
    assert marked(entry) == [{each.notification_id for each in records}]


def test_what_the_server_did_not_hear_is_told_again(
    watched, dapp, server, entry, records
):
    services.mark_read(records, watched.device)
    unheard = [(record, False) for record in reversed(records)]
    deliver(page(watched, dapp, entry, unheard))
    assert len(marked(entry)) == 1, "it is on its way"
    with later(seconds=15 * 60):
        deliver(page(watched, dapp, entry, unheard))
        deliver(page(watched, dapp, entry, unheard))
    ids = {record.notification_id for record in records}
    assert marked(entry) == [ids, ids]


def test_one_that_came_on_an_older_topic_is_told_on_the_present_one(
    watched, dapp, server, entry, records
):
    newer = listed(watched, dapp, letter="q")
    tell(server, newer)
    assert Subscription.objects.active().get().topic == newer.sym_key.topic
    services.mark_read(records, watched.device)
    [row] = sent(4016)
    assert row.topic == newer.sym_key.topic
