"""Clients of 2023's end and of 2024: watching, the full list, read state, permissions."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from castserver.models import ChangedSubscriptions, Delivery, Subscriber, Watcher
from castserver.services.notifications.notify import notify
from castserver.services.notifications.read_state import mark_all_as_read
from castserver.services.projects.documents import server_did_document
from castserver.services.projects.projects import TypeDraft, create_project
from castserver.services.subscribers.announcements import announce_changes
from common import clock, entropy, histograms
from tests.cacaos import LIMITED_STATEMENT
from tests.castserver.conftest import Caller
from tests.castserver.world import (
    Wallet,
    claims_of,
    counts,
    deliver,
    deliver_again,
    metadata_of,
    open_all,
    open_last,
    sent,
)
from walletconnect.crypto.keys import KeyPair
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.identity.did import AppUrl, DidWebDocument
from walletconnect.notify.answers import publish_request
from walletconnect.notify.dialect import V1
from walletconnect.notify.message import make_receipt, receive_message
from walletconnect.notify.methods import GET_NOTIFICATIONS, MARK_READ
from walletconnect.notify.values import NotifyMessage
from walletconnect.notify.watch import read_subscriptions, request_watch
from walletconnect.notify.watch_claims import GetNotificationsAuth, MarkReadAuth
from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest, parse

DID = "did:web:dapp.example.org"
DRAFT = NotifyMessage(type="alerts", title="Hello", body="World")


def later_wallet(device="phone", *, statement=ALL_APPS_STATEMENT, domain=None):
    return Wallet("alice", device, statement=statement, domain=domain).register()


@pytest.fixture(autouse=True)
def server_keys():
    """Made when somebody first asks for them: before any count here."""
    server_did_document()


@pytest.fixture
def phone():
    return later_wallet("phone")


@pytest.fixture
def laptop():
    return later_wallet("laptop")


def watch(wallet, *, app=None, key_pair=None, **changes):
    arguments = {
        "key_pair": key_pair or KeyPair.from_private(entropy.key_bytes()),
        "app": app,
        "request_id": clock.payload_id(),
        "iv": entropy.iv(),
        "now": clock.now_s(),
    }
    document = DidWebDocument.from_value(server_did_document())
    made = request_watch(document, wallet.identity, **(arguments | changes))
    deliver(made.publish)
    return made


def list_in(made, tag=4011):
    payload = parse(open_last(made.sym_key, tag))
    return read_subscriptions(payload, made.pending, now=clock.now_s()).subscriptions


def later_subscribe(wallet, project, app=DID):
    """The answer's claims; the later client takes its key from ``sbs``."""
    made, _ = wallet.request(project, app=app)
    deliver(made.publish)
    answer = parse(open_last(made.sym_key_s))
    assert not isinstance(answer, JsonRpcError), answer
    return claims_of(answer.result["responseAuth"])


def announced():
    with clock.frozen(clock.now() + timedelta(seconds=1)):
        return announce_changes()


# --- subscribe ------------------------------------------------------------------------


def test_a_subscribe_by_domain_is_answered_with_the_list(project, phone):
    claims = later_subscribe(phone, project)
    assert claims["sub"] == f"did:pkh:{phone.account}"
    assert claims["app"] == DID
    [element] = claims["sbs"]
    assert f"did:web:{element['appDomain']}" == claims["app"]
    assert element["appAuthenticationKey"] == project.authentication_did
    assert element["scope"] == ["alerts", "news", "gm_hourly"]
    row = Subscriber.objects.get()
    assert row.is_later_generation
    from walletconnect.crypto.keys import SymKey

    assert SymKey.from_hex(element["symKey"]).topic == row.topic


def test_a_second_subscribe_keeps_key_and_topic(project, phone, laptop):
    first = later_subscribe(phone, project)
    second = later_subscribe(laptop, project)
    assert first["sbs"][0]["symKey"] == second["sbs"][0]["symKey"]
    assert Subscriber.objects.count() == 1


def test_two_subscribes_of_one_batch_share_key_and_topic(project, phone, laptop):
    requests = [wallet.request(project, app=DID)[0] for wallet in (phone, laptop)]
    deliver(*[made.publish for made in requests])
    keys = {
        claims_of(parse(open_last(made.sym_key_s)).result["responseAuth"])["sbs"][0][
            "symKey"
        ]
        for made in requests
    }
    assert len(keys) == 1
    assert Subscriber.objects.count() == 1


def test_an_all_apps_watcher_receives_the_other_apps_too(project, phone):
    other, _ = create_project("Other", url="https://other.example.org")
    later_subscribe(phone, other, app="did:web:other.example.org")
    alone = later_subscribe(phone, project)
    assert [each["appDomain"] for each in alone["sbs"]] == ["dapp.example.org"]
    watch(phone)
    claims = later_subscribe(phone, project)
    assert {each["appDomain"] for each in claims["sbs"]} == {
        "dapp.example.org",
        "other.example.org",
    }


def test_a_message_of_the_later_form_has_an_id_of_its_own(project, phone, laptop):
    claims = later_subscribe(phone, project)
    from walletconnect.crypto.keys import SymKey

    key = SymKey.from_hex(claims["sbs"][0]["symKey"])
    for _ in range(2):
        notify(project, DRAFT, [str(phone.account)])
    messages = [
        claims_of(request.params["messageAuth"]) for request in open_all(key, 4002)
    ]
    assert len({each["msg"]["id"] for each in messages}) == 2
    assert all("aud" not in each for each in messages)
    assert messages[0]["app"] == DID
    assert messages[0]["msg"]["is_read"] is False


def test_a_v1_client_acknowledges_a_v0_message(project, alice, laptop):
    subscription = alice.subscribe(project)
    notify(project, DRAFT, [str(alice.account)])
    request = parse(open_last(subscription.sym_key, 4002))
    received = receive_message(
        request,
        laptop.account,
        app=project.url,
        dapp_did=project.authentication_did,
        now=clock.now_s(),
    )
    assert not received.is_v1
    # 1.4.1 names the app as it was listed and hashes nothing.
    spoken = dataclasses.replace(received, app=DID, subscription_hash=None)
    deliver(
        make_receipt(
            spoken,
            laptop.identity,
            sym_key=subscription.sym_key,
            iv=entropy.iv(),
            now=clock.now_s(),
        )
    )
    assert Delivery.objects.get().receipt_at is not None


# --- who may --------------------------------------------------------------------------


def test_a_limited_key_may_use_its_own_domain_only(project):
    here = later_wallet("here", statement=LIMITED_STATEMENT, domain="dapp.example.org")
    there = later_wallet("there", statement=LIMITED_STATEMENT, domain="evil.example")
    made, _ = there.request(project, app=DID)
    before = counts()
    deliver(made.publish)
    assert counts() == before
    assert isinstance(parse(open_last(made.sym_key_s)), JsonRpcError)
    assert later_subscribe(here, project)["sbs"]


def test_a_v0_key_may_not_list_subscriptions(project, alice):
    alice.subscribe(project)
    before = counts()
    made = watch(alice)
    assert counts() == before
    assert isinstance(parse(open_last(made.sym_key, 4011)), JsonRpcError)


def test_watching_all_apps_needs_that_permission(project):
    limited = later_wallet("x", statement=LIMITED_STATEMENT, domain="dapp.example.org")
    before = counts()
    made = watch(limited, app=None)
    assert counts() == before
    assert isinstance(parse(open_last(made.sym_key, 4011)), JsonRpcError)
    made = watch(limited, app=DID)
    assert list_in(made) == ()


def test_an_account_is_watched_by_its_own_keys_only(project, phone, bob):
    later_subscribe(phone, project)
    phone.identity = dataclasses.replace(phone.identity, account=bob.account)
    before = counts()
    made = watch(phone)
    assert counts() == before
    assert isinstance(parse(open_last(made.sym_key, 4011)), JsonRpcError)


# --- watching -------------------------------------------------------------------------


def test_a_watcher_receives_the_list_at_once_and_after_changes(project, phone, laptop):
    made = watch(laptop)
    assert list_in(made) == ()
    later_subscribe(phone, project)
    assert announced() == 1
    [element] = list_in(made, 4012)
    assert element.app_domain == "dapp.example.org"
    assert element.account == laptop.account


def test_changes_close_together_are_announced_once(project, phone, laptop):
    made = watch(laptop)
    other, _ = create_project("Other", url="https://other.example.org")
    later_subscribe(phone, project)
    later_subscribe(phone, other, app="did:web:other.example.org")
    later_subscribe(phone, project)
    assert announced() == 1
    assert len(sent(made.sym_key.topic, 4012)) == 1
    assert len(list_in(made, 4012)) == 2
    assert announced() == 0


def test_changes_wait_a_moment(project, phone, laptop):
    watch(laptop)
    with clock.frozen(clock.now()):
        later_subscribe(phone, project)
        assert ChangedSubscriptions.objects.count() == 1
        assert announce_changes() == 0


@pytest.mark.parametrize(("mjv", "count"), [("1", 0), ("", 1), ("0", 1)])
def test_the_source_reads_its_answer_if_it_can(project, phone, mjv, count):
    watch(phone)
    Watcher.objects.update(mjv=mjv)
    later_subscribe(phone, project)
    assert announced() == count


def test_a_watcher_of_one_app_receives_that_app_only(project, phone):
    here = later_wallet("here", statement=LIMITED_STATEMENT, domain="dapp.example.org")
    made = watch(here, app=DID)
    other, _ = create_project("Other", url="https://other.example.org")
    later_subscribe(phone, other, app="did:web:other.example.org")
    assert announced() == 0
    later_subscribe(phone, project)
    assert announced() == 1
    assert [each.app_domain for each in list_in(made, 4012)] == ["dapp.example.org"]


def test_charlie_receives_nothing(project, phone):
    charlie = Wallet("charlie", statement=ALL_APPS_STATEMENT).register()
    made = watch(charlie)
    later_subscribe(phone, project)
    assert announced() == 0
    assert list_in(made) == ()


def test_a_v0_subscription_is_announced_to_watchers(project, alice, laptop):
    made = watch(laptop)
    subscription = alice.subscribe(project)
    assert announced() == 1
    [element] = list_in(made, 4012)
    assert element.sym_key == subscription.sym_key
    alice.delete(project, subscription)
    assert announced() == 1
    assert list_in(made, 4012) == ()


def test_a_new_watch_of_the_same_key_replaces_the_old(project, phone, laptop):
    first = watch(laptop)
    second = watch(laptop)
    assert Watcher.objects.count() == 1
    later_subscribe(phone, project)
    announced()
    assert sent(first.sym_key.topic, 4012) == []
    assert len(sent(second.sym_key.topic, 4012)) == 1


def test_the_same_watch_twice_is_answered_with_the_same_bytes(project, laptop):
    made = watch(laptop)
    deliver_again(made.publish)
    first, second = sent(made.sym_key.topic, 4011)
    assert first.message == second.message


def test_watchers_end_after_a_day(project, phone, laptop):
    watch(laptop)
    with clock.frozen(clock.now() + timedelta(hours=25)):
        later_subscribe(phone, project)
        assert announce_changes() == 0
        from castserver.services.upkeep import prune

        prune()
    assert Watcher.objects.count() == 0


def test_watchers_are_bounded(project, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, watchers_per_account=2)
    for device in ("a", "b"):
        watch(later_wallet(device))
    before = counts()
    made = watch(later_wallet("c"))
    assert counts() == before
    assert isinstance(parse(open_last(made.sym_key, 4011)), JsonRpcError)
    # Who watches already may renew.
    watch(later_wallet("a"))
    # Each dapp may have clients of its own, up to a limit for the account.
    assert list_in(watch(later_wallet("d"), app=DID)) == ()
    assert list_in(watch(later_wallet("e"), app=DID)) == ()
    refused = watch(later_wallet("f"), app=DID)
    assert isinstance(parse(open_last(refused.sym_key, 4011)), JsonRpcError)


def test_watchers_of_all_apps_together_are_bounded(project, settings, monkeypatch):
    from castserver.services.subscribers import watch as watch_service

    settings.LIMITS = dataclasses.replace(settings.LIMITS, watchers_per_account=1)
    monkeypatch.setattr(watch_service, "MAX_APPS", 2)
    for device in ("a", "b"):
        watch(later_wallet(device), app=f"did:web:{device}.example.org")
    refused = watch(later_wallet("c"), app="did:web:c.example.org")
    assert isinstance(parse(open_last(refused.sym_key, 4011)), JsonRpcError)


def test_a_client_of_a_domain_without_a_project_watches_an_empty_list(project, phone):
    later_subscribe(phone, project)
    domain = "unrelated.example.org"
    limited = later_wallet("x", statement=LIMITED_STATEMENT, domain=domain)
    assert list_in(watch(limited, app=f"did:web:{domain}")) == ()


# --- update and delete ----------------------------------------------------------------


def later_subscription(wallet, project):
    """What a later client makes of ``sbs``, as far as requests need it."""
    from tests.castserver.world import metadata_of, scope_of
    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.values import NotifySubscription

    element = later_subscribe(wallet, project)["sbs"][0]
    key = SymKey.from_hex(element["symKey"])
    return NotifySubscription(
        topic=key.topic,
        account=wallet.account,
        metadata=dataclasses.replace(metadata_of(project), url=DID),
        scope=scope_of(project),
        expiry=element["expiry"],
        sym_key=key,
    )


def test_an_update_is_answered_with_the_list(project, phone, laptop):
    subscription = later_subscription(phone, project)
    made = watch(laptop)
    phone.update(project, subscription, {"news"})
    claims = claims_of(
        parse(open_last(subscription.sym_key, 4009)).result["responseAuth"]
    )
    assert claims["sub"] == f"did:pkh:{phone.account}"
    assert [each["scope"] for each in claims["sbs"]] == [["news"]]
    announced()
    assert [each.scope for each in list_in(made, 4012)] == [("news",)]


def test_a_delete_is_answered_with_what_is_left(project, phone):
    subscription = later_subscription(phone, project)
    shared = dataclasses.replace(subscription, metadata=metadata_of(project))
    phone.delete(project, shared, dialect=V1)
    claims = claims_of(
        parse(open_last(subscription.sym_key, 4005)).result["responseAuth"]
    )
    assert (claims["sub"], claims["sbs"]) == (f"did:pkh:{phone.account}", [])
    assert not Subscriber.objects.live(clock.now()).exists()
    assert sent(subscription.topic, 4004) == []


def test_a_v0_wallet_deletes_a_v1_subscription(project, alice, laptop):
    made = watch(laptop)
    subscription = later_subscription(laptop, project)
    # As the v0 wallet receives it through Sync: with the dapp's URL.
    shared = dataclasses.replace(subscription, metadata=metadata_of(project))
    alice.delete(project, shared)
    assert not Subscriber.objects.live(clock.now()).exists()
    announced()
    assert list_in(made, 4012) == ()


def test_a_limited_key_may_not_delete_another_dapp_with_a_v0_token(project, alice):
    subscription = alice.subscribe(project)
    limited = Wallet(
        "alice", "limited", statement=LIMITED_STATEMENT, domain="evil.example"
    ).register()
    limited.update(project, subscription, set())
    limited.delete(project, subscription)
    row = Subscriber.objects.live(clock.now()).get()
    assert set(row.scope) == set(subscription.scope.enabled)


# --- read state -----------------------------------------------------------------------


def ask(wallet, project, subscription, auth_class, method, **claims):
    token = auth_class(
        iat=clock.now_s(),
        exp=clock.now_s() + 300,
        iss=wallet.key.did,
        mjv="1",
        aud=project.authentication_did,
        sub=wallet.account.did,
        ksu=wallet.identity.keys_server_url,
        app=DID,
        **claims,
    ).sign(wallet.key)
    deliver(
        publish_request(
            method,
            token,
            request_id=clock.payload_id(),
            sym_key=subscription.sym_key,
            iv=entropy.iv(),
        )
    )
    return parse(open_last(subscription.sym_key, method.response_tag))


def page(wallet, project, subscription, **claims):
    answer = ask(
        wallet, project, subscription, GetNotificationsAuth, GET_NOTIFICATIONS, **claims
    )
    return claims_of(answer.result["auth"])


def mark(wallet, project, subscription, **claims):
    return ask(wallet, project, subscription, MarkReadAuth, MARK_READ, **claims)


@pytest.fixture
def with_history(project, phone):
    subscription = later_subscription(phone, project)
    for number in range(7):
        with clock.frozen(clock.now() + timedelta(seconds=number)):
            draft = dataclasses.replace(DRAFT, title=f"n{number}")
            notify(project, draft, [str(phone.account)])
    return subscription


def titles(found):
    return [each["title"] for each in found["nfs"]]


def test_pages_are_newest_first(project, phone, with_history):
    first = page(phone, project, with_history, lmt=3)
    assert titles(first) == ["n6", "n5", "n4"]
    assert (first["mre"], first["mur"]) == (True, True)
    second = page(phone, project, with_history, lmt=3, aft=first["nfs"][-1]["id"])
    assert titles(second) == ["n3", "n2", "n1"]
    third = page(phone, project, with_history, lmt=3, aft=second["nfs"][-1]["id"])
    assert titles(third) == ["n0"]
    assert (third["mre"], third["mur"]) == (False, False)


def test_pages_before_the_first_notification_are_empty(project, phone):
    subscription = later_subscription(phone, project)
    for unread_first in (False, True):
        found = page(phone, project, subscription, lmt=1, urf=unread_first)
        assert (found["nfs"], found["mre"], found["mur"]) == ([], False, False)
    assert not isinstance(mark(phone, project, subscription, all=True), JsonRpcError)


@pytest.mark.parametrize("unread_first", [False, True])
def test_a_page_that_is_just_full_is_the_last(
    project, phone, with_history, unread_first
):
    found = page(phone, project, with_history, lmt=7, urf=unread_first)
    assert titles(found) == [f"n{number}" for number in (6, 5, 4, 3, 2, 1, 0)]
    assert (found["mre"], found["mur"]) == (False, False)
    after = found["nfs"][-1]["id"]
    rest = page(phone, project, with_history, lmt=7, urf=unread_first, aft=after)
    assert (rest["nfs"], rest["mre"], rest["mur"]) == ([], False, False)


def test_notifications_of_one_instant_have_an_order(project, phone):
    subscription = later_subscription(phone, project)
    with clock.frozen(clock.now()):
        for number in range(4):
            draft = dataclasses.replace(DRAFT, title=f"n{number}")
            notify(project, draft, [str(phone.account)])
    seen, aft = [], None
    for _ in range(4):
        found = page(phone, project, subscription, lmt=1, aft=aft)
        seen += titles(found)
        aft = found["nfs"][-1]["id"]
    assert sorted(seen) == ["n0", "n1", "n2", "n3"]
    assert seen == titles(page(phone, project, subscription, lmt=4))


def test_a_mark_of_an_unknown_id_marks_nothing_else(project, phone, with_history):
    unknown = "00000000-0000-7000-8000-000000000000"
    answer = mark(phone, project, with_history, ids=(unknown,))
    assert not isinstance(answer, JsonRpcError)
    assert Delivery.objects.filter(read_at=None).count() == 7


@pytest.mark.parametrize("url", ["https://dapp.example.org/page", ""])
@pytest.mark.parametrize("counts_clicks", [False, True])
def test_pages_have_the_links_of_the_messages(
    project, phone, laptop, url, counts_clicks
):
    """Of projects that count clicks, each receiver has a link of its own."""
    type(project).objects.update(counts_clicks=counts_clicks)
    project.refresh_from_db()
    bob = Wallet("bob", statement=ALL_APPS_STATEMENT).register()
    links = []
    wallets = (phone, bob)
    subscriptions = [later_subscription(wallet, project) for wallet in wallets]
    draft = dataclasses.replace(DRAFT, url=url)
    notify(project, draft, [str(wallet.account) for wallet in wallets])
    for wallet, subscription in zip(wallets, subscriptions, strict=True):
        [request] = open_all(subscription.sym_key, 4002)
        sent_link = claims_of(request.params["messageAuth"])["msg"]["url"]
        [found] = page(wallet, project, subscription, lmt=5)["nfs"]
        assert found["url"] == sent_link
        links.append(sent_link)
    if counts_clicks and url:
        assert len({url, *links}) == 3
    else:
        assert links == [url, url]


def test_unread_before_read_on_request(project, phone, with_history):
    found = page(phone, project, with_history, lmt=7)
    ids = {each["title"]: each["id"] for each in found["nfs"]}
    mark(phone, project, with_history, ids=(ids["n6"], ids["n3"]))
    seen, aft = [], None
    for _ in range(4):
        found = page(phone, project, with_history, lmt=2, urf=True, aft=aft)
        seen += titles(found)
        aft = found["nfs"][-1]["id"]
    assert seen == ["n5", "n4", "n2", "n1", "n0", "n6", "n3"]
    assert found["mre"] is False


def test_more_unread_is_about_the_pages_to_come(project, phone, with_history):
    found = page(phone, project, with_history, lmt=7)
    newest = [each["id"] for each in found["nfs"][:3]]
    mark(phone, project, with_history, all=False, ids=tuple(newest))
    assert page(phone, project, with_history, lmt=3)["mur"] is True
    mark(phone, project, with_history, all=True)
    found = page(phone, project, with_history, lmt=3)
    assert (found["mre"], found["mur"]) == (True, False)
    assert all(each["is_read"] for each in found["nfs"])


def test_watchers_receive_unread_counts(project, phone, laptop, with_history):
    made = watch(laptop)
    assert list_in(made)[0].unread_notification_count == 7
    mark(phone, project, with_history, all=True)
    assert announced() == 1
    assert list_in(made, 4012)[0].unread_notification_count == 0


def test_the_time_until_a_notification_is_read_is_measured(
    project, phone, with_history, redis_client, django_capture_on_commit_callbacks
):
    at = clock.now() - timedelta(seconds=90)
    Delivery.objects.update(receipt_at=at)
    with django_capture_on_commit_callbacks(execute=True):
        mark(phone, project, with_history, all=True)
        mark(phone, project, with_history, all=True)
    measured = histograms.totals()["notification", "read"]
    assert sum(measured.counts) == 7
    assert 7 * 90 <= measured.sum_s < 7 * 150


def test_marking_twice_keeps_the_first_time(project, phone, with_history):
    mark(phone, project, with_history, all=True)
    before = list(Delivery.objects.order_by("pk").values_list("read_at", flat=True))
    mark(phone, project, with_history, all=True)
    after = list(Delivery.objects.order_by("pk").values_list("read_at", flat=True))
    assert before == after


def test_an_account_with_two_topics_has_read_a_notification_once(
    project, alice, laptop
):
    first = alice.subscribe(project)
    notify(project, DRAFT, [str(alice.account)])
    alice.subscribe(project)
    notify(project, dataclasses.replace(DRAFT, title="Both"), [str(alice.account)])
    made = watch(laptop)
    [listed] = list_in(made)
    assert listed.unread_notification_count == 2
    newest = dataclasses.replace(
        first, topic=listed.sym_key.topic, sym_key=listed.sym_key
    )
    found = page(laptop, project, newest, lmt=5)
    assert titles(found) == ["Both", "Hello"], "each once, also from the first topic"
    assert page(laptop, project, newest, lmt=5, aft=found["nfs"][0]["id"])["nfs"] == [
        found["nfs"][1]
    ]
    mark(laptop, project, newest, ids=(found["nfs"][0]["id"],))
    assert titles(page(laptop, project, newest, lmt=1, urf=True)) == ["Hello"]
    mark(laptop, project, newest, all=True)
    assert not Delivery.objects.filter(read_at=None).exists()


@pytest.mark.parametrize("aft", ["x", "00000000-0000-7000-8000-000000000000"])
def test_a_page_after_nothing_is_refused(project, phone, with_history, aft):
    answer = ask(
        phone,
        project,
        with_history,
        GetNotificationsAuth,
        GET_NOTIFICATIONS,
        lmt=3,
        aft=aft,
    )
    assert isinstance(answer, JsonRpcError)


def test_other_accounts_cannot_read_or_mark(project, phone, with_history):
    bob = Wallet("bob", statement=ALL_APPS_STATEMENT).register()
    for auth_class, method, claims in (
        (GetNotificationsAuth, GET_NOTIFICATIONS, {"lmt": 3}),
        (MarkReadAuth, MARK_READ, {"all": True}),
    ):
        answer = ask(bob, project, with_history, auth_class, method, **claims)
        assert isinstance(answer, JsonRpcError)
    assert Delivery.objects.filter(read_at=None).count() == 7


def test_ids_of_another_account_are_not_marked(project, phone, with_history):
    bob = Wallet("bob", statement=ALL_APPS_STATEMENT).register()
    theirs = later_subscription(bob, project)
    ids = tuple(str(pk) for pk in Delivery.objects.values_list("pk", flat=True))
    mark(bob, project, theirs, ids=ids)
    assert Delivery.objects.exclude(read_at=None).count() == 0


def test_the_dapp_may_mark_all_as_read(project, secret, phone, with_history):
    other, _ = create_project(
        "Other", url="https://other.example.org", types=[TypeDraft("alerts")]
    )
    assert mark_all_as_read(other) == 0
    caller = Caller(project, secret, prefix=f"/cast/v1/{project.pk}")
    assert caller.get("mark-all-as-read").status_code == 204
    assert not Delivery.objects.filter(read_at=None).exists()


def test_a_hosted_dapp_is_named_by_host_port_and_path(phone):
    hosted, _ = create_project("Hosted", types=[TypeDraft("alerts")])
    did = AppUrl.parse(hosted.url).did
    claims = later_subscribe(phone, hosted, app=did)
    assert f"did:web:{claims['sbs'][0]['appDomain']}" == claims["app"] == did


def test_a_request_of_an_unknown_kind_is_dropped(project, phone):
    subscription = later_subscription(phone, project)
    before = counts()
    request = JsonRpcRequest(1, "wc_notifyOther", {})
    from walletconnect.crypto.envelope import seal
    from walletconnect.relay.messages import Publication

    deliver(
        Publication(
            subscription.topic,
            seal(request.to_json(), subscription.sym_key, iv=entropy.iv()),
            4099,
            30,
        )
    )
    assert counts() == before
