"""v1: watching, lists of subscriptions, pages of notifications, read marks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.cacaos import LIMITED_STATEMENT
from tests.walletconnect.conversation import SUBSCRIPTION, arrived
from tests.walletconnect.people import (
    BOB,
    DAPP,
    KEYS_SERVER,
    NOW,
    OTHER_DAPP,
    W1,
    iv,
    secret,
)
from tests.walletconnect.vectors import load
from walletconnect.crypto.envelope import Envelope
from walletconnect.crypto.keys import KeyPair, SymKey
from walletconnect.crypto.signing import IdentityKey
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.identity.did import DidWebDocument
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify.read_state import (
    answer_get_notifications,
    answer_mark_read,
    read_get_notifications,
    read_mark_read,
    read_notifications,
    request_get_notifications,
    request_mark_read,
)
from walletconnect.notify.server_subscription import ServerSubscription
from walletconnect.notify.values import NotifyMessage
from walletconnect.notify.watch import (
    WATCHER_LIFE,
    NotifyServer,
    SubscriptionList,
    Watcher,
    announce_changes,
    answer_watch,
    read_subscriptions,
    request_watch,
    watchers_to_notify,
)
from walletconnect.notify.watch_claims import (
    GetNotificationsAuth,
    GetNotificationsResponseAuth,
    MarkReadAuth,
    MarkReadResponseAuth,
    SubscriptionsChangedAuth,
    WatchSubscriptionsAuth,
    WatchSubscriptionsResponseAuth,
)
from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest

if TYPE_CHECKING:
    from walletconnect.notify.claims import Claims

SERVER = NotifyServer(
    IdentityKey.from_seed(secret("notify server")),
    KeyPair.from_private(secret("notify server X")),
    frozenset({KEYS_SERVER}),
)
DOCUMENT = DidWebDocument(
    "did:web:notify.example.org", SERVER.key_pair.public_key, SERVER.key.public_key
)
KEY_PAIR = KeyPair.from_private(secret("watch"))
DID_APP = "did:web:dapp.example.org"


def listed(domain: str, account=W1.account) -> ServerSubscription:
    return ServerSubscription(
        domain, DAPP.key.did, SymKey(secret(domain)), account, ("alerts",), NOW + 99, 3
    )


MINE = (listed("dapp.example.org"), listed("other.example.org"))


EVERYTHING = W1.allowing(ALL_APPS_STATEMENT)
ONE_APP = W1.allowing(LIMITED_STATEMENT)


def ask(app=None, wallet=W1, **changes):
    return request_watch(
        DOCUMENT,
        wallet.identity,
        key_pair=KEY_PAIR,
        app=app,
        request_id=7,
        iv=iv(),
        now=NOW,
        **changes,
    )


def answer(watch=None, **changes):
    watch = watch or ask()
    given = {
        "topic": watch.publish.topic,
        "sender_public_key": Envelope.decode(watch.publish.message).sender_public_key,
        "identity": EVERYTHING,
        "subscriptions": MINE,
        "iv": iv("answer"),
        "now": NOW + 1,
        **changes,
    }
    return answer_watch(arrived(watch.publish, watch.sym_key), SERVER, **given)


def refusal(*args, **changes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        answer(*args, **changes)
    return caught.value.code


def test_a_watch_is_answered_with_the_full_list():
    watch = ask()
    assert (watch.publish.topic, watch.publish.tag) == (SERVER.key_pair.topic, 4010)
    answered = answer(watch)
    assert (answered.publish.topic, answered.publish.tag) == (watch.sym_key.topic, 4011)
    watcher = answered.watcher
    assert watcher.topic == watch.sym_key.topic
    assert watcher.identity_did == W1.identity_key.did
    assert watcher.expires_at == NOW + 1 + WATCHER_LIFE
    response = arrived(answered.publish, watch.sym_key)
    assert read_subscriptions(response, watch.pending, now=NOW) == SubscriptionList(
        NOW + 1, MINE
    )


def test_a_watch_of_one_app_is_answered_with_that_app():
    watch = ask(DID_APP)
    answered = answer(watch, identity=ONE_APP)
    response = arrived(answered.publish, watch.sym_key)
    listed = read_subscriptions(response, watch.pending, now=NOW)
    assert listed.subscriptions == MINE[:1]


def test_the_statement_that_was_signed_is_the_permission():
    assert refusal(ask(None), identity=ONE_APP) is ErrorCode.UNAUTHORIZED
    assert (
        refusal(ask("did:web:other.example.org"), identity=ONE_APP)
        is ErrorCode.UNAUTHORIZED
    )
    assert refusal(ask(DID_APP), identity=W1.cacao) is ErrorCode.UNAUTHORIZED
    assert refusal(ask("https://dapp.example.org")) is ErrorCode.MALFORMED


def test_a_watch_for_another_server_or_by_another_key_is_refused():
    assert refusal(topic=DAPP.key_pair_x.topic) is ErrorCode.MISMATCH
    assert refusal(identity=BOB.cacao) is ErrorCode.MISMATCH
    other = replace(ask().pending, server_did=DAPP.key.did)
    response = arrived(answer().publish, ask().sym_key)
    with pytest.raises(RemoteProtocolError):
        read_subscriptions(response, other, now=NOW)


def test_changes_are_announced_on_the_same_topic():
    watch = ask()
    watcher = answer(watch).watcher
    published = announce_changes(
        watcher, SERVER, subscriptions=MINE[1:], request_id=8, iv=iv(), now=NOW + 2
    )
    assert (published.topic, published.tag) == (watch.sym_key.topic, 4012)
    announcement = arrived(published, watch.sym_key)
    listed = read_subscriptions(announcement, watch.pending, now=NOW)
    assert listed == SubscriptionList(NOW + 2, MINE[1:])
    with pytest.raises(RemoteProtocolError):
        read_subscriptions(announcement, ask(wallet=BOB).pending, now=NOW)


def test_a_list_with_another_accounts_subscription_is_refused():
    answered = answer(subscriptions=[listed("dapp.example.org", BOB.account)])
    response = arrived(answered.publish, ask().sym_key)
    with pytest.raises(RemoteProtocolError):
        read_subscriptions(response, ask().pending, now=NOW)


def test_a_refused_watch_raises():
    with pytest.raises(RemoteProtocolError) as caught:
        read_subscriptions(JsonRpcError(7, -1, "no"), ask().pending, now=NOW)
    assert caught.value.code is ErrorCode.REFUSED


def watcher(did: str, **changes) -> Watcher:
    made = Watcher(did, W1.account, None, SymKey(secret(did)), "1", NOW + 10)
    return replace(made, **changes)


def test_changes_go_to_every_watcher_but_their_source():
    everything, one, other = (
        watcher("everything"),
        watcher("one", domain="dapp.example.org"),
        watcher("other", domain="other.example.org"),
    )
    watchers = [
        everything,
        one,
        other,
        watcher("bob", account=BOB.account),
        watcher("old", expires_at=NOW),
        watcher("source"),
    ]

    def receivers(source: str) -> list[str]:
        found = watchers_to_notify(
            watchers, W1.account, "dapp.example.org", source_did=source, now=NOW
        )
        return [each.identity_did for each in found]

    assert receivers("source") == ["everything", "one"]
    assert receivers("one") == ["everything", "source"]
    watchers[-1] = watcher("source", mjv=None)
    # The first clients of v1 do not read the list in their answer.
    assert receivers("source") == ["everything", "one", "source"]


# --- pages and read marks ---


def get_request(key=W1.identity_key, **changes) -> JsonRpcRequest:
    claims = {
        "iat": NOW,
        "exp": NOW + 300,
        "iss": key.did,
        "mjv": "1",
        "sub": W1.account.did,
        "aud": DAPP.key.did,
        "ksu": KEYS_SERVER,
        "app": DID_APP,
        "lmt": 50,
        **changes,
    }
    token = GetNotificationsAuth(**claims).sign(key)
    return JsonRpcRequest(9, "wc_notifyGetNotifications", {"auth": token})


def mark_request(**changes) -> JsonRpcRequest:
    claims = {
        "iat": NOW,
        "exp": NOW + 300,
        "iss": W1.identity_key.did,
        "sub": W1.account.did,
        "aud": DAPP.key.did,
        "ksu": KEYS_SERVER,
        "app": DID_APP,
        **changes,
    }
    token = MarkReadAuth(**claims).sign(W1.identity_key)
    return JsonRpcRequest(10, "wc_notifyMarkNotificationsAsRead", {"auth": token})


def read_page(request, **changes):
    given = {"account": W1.account, "identity": EVERYTHING, "now": NOW, **changes}
    return read_get_notifications(request, DAPP.identity, **given)


def test_a_device_asks_for_a_page_and_gets_it():
    request = get_request(aft="id-1", urf=True)
    auth = read_page(request)
    assert (auth.lmt, auth.aft, auth.urf) == (50, "id-1", True)
    page = [
        NotifyMessage("t", "b", "alerts", id="id-2", sent_at=NOW * 1000, is_read=False)
    ]
    published = answer_get_notifications(
        request,
        auth,
        DAPP.identity,
        page=page,
        more=True,
        more_unread=False,
        sym_key_p=SUBSCRIPTION.sym_key,
        iv=iv(),
        now=NOW,
    )
    assert (published.topic, published.tag) == (SUBSCRIPTION.topic, 4015)
    response = arrived(published, SUBSCRIPTION.sym_key)
    told_page = GetNotificationsResponseAuth.read(response.result["auth"], now=NOW)
    assert told_page.nfs == tuple(page)
    assert (told_page.mre, told_page.mur) == (True, False)


def page_request(**changes):
    given = {
        "dapp_did": DAPP.key.did,
        "request_id": 9,
        "iv": iv(),
        "now": NOW,
        **changes,
    }
    published = request_get_notifications(SUBSCRIPTION, W1.identity, **given)
    assert (published.topic, published.tag) == (SUBSCRIPTION.topic, 4014)
    return arrived(published, SUBSCRIPTION.sym_key)


def page_answer(request=None, **changes):
    request = request or page_request()
    given = {
        "page": [NotifyMessage("t", "b", "news", id="n", sent_at=NOW, is_read=True)],
        "more": False,
        "more_unread": False,
        "sym_key_p": SUBSCRIPTION.sym_key,
        "iv": iv(),
        "now": NOW,
        **changes,
    }
    published = answer_get_notifications(
        request, read_page(request), DAPP.identity, **given
    )
    return arrived(published, SUBSCRIPTION.sym_key)


def read_answer(answer, account=W1.account, **changes):
    given = {
        "app": SUBSCRIPTION.app,
        "dapp_did": DAPP.key.did,
        "now": NOW + 1,
        **changes,
    }
    return read_notifications(answer, account, **given)


def test_a_wallet_asks_for_a_page_and_reads_it():
    auth = read_page(page_request(after="id-1"))
    assert (auth.lmt, auth.aft, auth.urf) == (50, "id-1", False)
    assert auth.app == DID_APP
    page = read_answer(page_answer(more=True))
    assert (page.asked_by, page.more) == (W1.identity.key.did, True)
    [told_of] = page.notifications
    assert (told_of.id, told_of.is_read) == ("n", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"account": BOB.account},
        {"app": "https://other.example.org"},
        {"dapp_did": OTHER_DAPP.key.did},
        {"now": NOW + 30 * 24 * 3600},
    ],
)
def test_a_page_that_is_not_the_accounts_or_not_the_dapps_is_refused(changes):
    with pytest.raises(RemoteProtocolError):
        read_answer(page_answer(), **changes)


def test_a_refused_page_raises():
    with pytest.raises(RemoteProtocolError):
        read_answer(JsonRpcError(9, -1, "no"))
    with pytest.raises(RemoteProtocolError):
        read_answer(JsonRpcError(None, -1, "no"))


def test_a_page_is_for_the_account_and_what_it_signed_for():
    assert read_page(get_request(), identity=ONE_APP).aft is None
    for changes in (
        {"identity": W1.allowing(LIMITED_STATEMENT, "other.example.org")},
        {"identity": BOB.cacao},
        {"account": BOB.account},
    ):
        with pytest.raises(RemoteProtocolError):
            read_page(get_request(), **changes)
    with pytest.raises(RemoteProtocolError):
        read_page(get_request(aud=OTHER_DAPP.key.did))
    with pytest.raises(RemoteProtocolError):
        read_page(get_request(app="did:web:other.example.org"))


@pytest.mark.parametrize("lmt", [0, 51])
def test_a_page_has_one_to_fifty_notifications(lmt):
    claims = DidJwt.parse(get_request().params["auth"]).claims
    with pytest.raises(RemoteProtocolError):
        GetNotificationsAuth.from_claims({**claims, "lmt": lmt})


def test_a_mark_of_our_wallet_is_accepted_by_our_server():
    asked = request_mark_read(
        SUBSCRIPTION,
        W1.identity,
        ids=["a", "b"],
        dapp_did=DAPP.key.did,
        request_id=7,
        iv=iv(),
        now=NOW,
    )
    assert (asked.topic, asked.tag) == (SUBSCRIPTION.topic, 4016)
    auth = read_mark_read(
        arrived(asked, SUBSCRIPTION.sym_key),
        DAPP.identity,
        account=W1.account,
        identity=EVERYTHING,
        now=NOW + 1,
    )
    assert (auth.ids, auth.all) == (("a", "b"), False)


def test_a_watcher_without_mjv_receives_its_own_changes():
    watch = ask(mjv=None)
    watcher = answer(watch).watcher
    domain = "dapp.example.org"
    to_tell = watchers_to_notify(
        [watcher], W1.account, domain, source_did=watcher.identity_did, now=NOW
    )
    assert to_tell == [watcher]


@pytest.mark.parametrize("wanted", [{"ids": ("a", "b")}, {"all": True}])
def test_a_device_marks_some_or_all_as_read(wanted):
    request = mark_request(**wanted)
    auth = read_mark_read(
        request, DAPP.identity, account=W1.account, identity=EVERYTHING, now=NOW
    )
    assert (auth.ids, auth.all) == (wanted.get("ids"), wanted.get("all", False))
    published = answer_mark_read(
        request, auth, DAPP.identity, sym_key_p=SUBSCRIPTION.sym_key, iv=iv(), now=NOW
    )
    assert published.tag == 4017
    response = arrived(published, SUBSCRIPTION.sym_key)
    MarkReadResponseAuth.read(response.result["auth"], now=NOW, sub=W1.account.did)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"ids": (), "all": False},
        {"ids": ("a",), "all": True},
        {"ids": ("a",) * 1001},
    ],
)
def test_a_mark_with_both_or_neither_of_all_and_ids_is_refused(wanted):
    with pytest.raises(RemoteProtocolError):
        mark_request(**wanted)


# --- the tokens of the released client ---

LATER_ACTS: dict[str, type[Claims]] = {
    each.act: each
    for each in (
        WatchSubscriptionsAuth,
        WatchSubscriptionsResponseAuth,
        SubscriptionsChangedAuth,
    )
}


@pytest.mark.parametrize(
    "case",
    [
        each
        for each in load("did_jwts")["cases"]
        if each["claims"].get("act") in LATER_ACTS
    ],
    ids=lambda case: case["name"],
)
def test_it_reads_the_released_clients_claims(case):
    auth = LATER_ACTS[case["claims"]["act"]].read(
        case["jwt"], now=case["claims"]["iat"]
    )
    written = {**case["claims"]}
    written.pop("sdk", None)
    assert auth.to_claims() == written


def test_repr_hides_the_keys_of_a_list():
    assert MINE[0].sym_key.hex() not in repr(MINE[0])
    assert ServerSubscription.from_value(MINE[0].to_value()) == MINE[0]
