"""What the servers of 2024 answer, where no other test of this folder shows it.

docs/interop.md lists the points at which we differ from them on purpose.
"""

from __future__ import annotations

import dataclasses
import uuid
from datetime import timedelta

import pytest

from castserver.models import Delivery, Notification, Subscriber
from castserver.services.notifications.notify import notify
from castserver.services.notifications.welcome import set_welcome
from castserver.services.projects.documents import server_did_document
from castserver.services.projects.projects import create_project
from common import clock
from tests.castserver.conftest import Caller, notification
from tests.castserver.test_later_generation import (
    DID,
    announced,
    later_subscribe,
    later_subscription,
    list_in,
    page,
    watch,
)
from tests.castserver.world import (
    Wallet,
    claims_of,
    deliver,
    metadata_of,
    open_all,
    open_last,
    sent,
)
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.notify.dialect import V1
from walletconnect.notify.scope import NotificationType, ScopeMap
from walletconnect.notify.values import NotifyMessage
from walletconnect.relay.rpc import JsonRpcError, parse

OTHER_DID = "did:web:other.example.org"
WELCOME = NotifyMessage(type="news", title="Welcome", body="Good to have you")


@pytest.fixture(autouse=True)
def server_keys():
    server_did_document()


@pytest.fixture
def v1(project, secret):
    return Caller(project, secret, prefix=f"/cast/v1/{project.pk}")


def on_chain(chain):
    """Alice's all-apps client while her wallet is on this chain."""
    wallet = Wallet("alice", f"on {chain}", statement=ALL_APPS_STATEMENT, chain=chain)
    return wallet.register()


@pytest.fixture
def mainnet():
    return on_chain("1")


@pytest.fixture
def polygon():
    return on_chain("137")


def strangers(count):
    return [f"eip155:1:0x{number:040x}" for number in range(count)]


def answered(subscription, tag):
    """The claims of the last answer on a notify topic."""
    return claims_of(parse(open_last(subscription.sym_key, tag)).result["responseAuth"])


def accounts_in(claims):
    return {each["appDomain"]: each["account"] for each in claims["sbs"]}


# --- REST -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "status"), [(0, 422), (1, 200), (100, 200), (101, 422)]
)
def test_the_types_of_up_to_a_hundred_accounts_are_answered(v1, count, status):
    answer = v1.post("subscribers", {"accounts": strangers(count)})
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {}
    else:
        assert answer.json()["field"] == "/accounts"


def test_a_uuid_that_is_no_type_here_fails_for_each_account(project, alice, v1):
    """A name that is no type is refused: `test_a_type_that_is_not_there_is_refused`."""
    alice.subscribe(project)
    [stranger] = strangers(1)
    call = {
        "notification": notification(type=str(uuid.uuid4())),
        "accounts": [str(alice.account), stranger],
    }
    answer = v1.post("notify", [call])
    assert answer.status_code == 200
    assert answer.json()["sent"] == []
    [failure] = answer.json()["failed"]
    assert failure["account"] == str(alice.account)
    assert "does not allow" in failure["reason"]
    assert answer.json()["not_found"] == [stranger]


def test_a_welcome_may_be_of_a_uuid_that_is_no_type_here(api):
    welcome = {
        "enabled": True,
        "type": str(uuid.uuid4()),
        "title": "t",
        "body": "b",
        "url": None,
    }
    assert api.post("welcome-notification", welcome).status_code == 204
    assert api.get("welcome-notification").json() == welcome
    changed = welcome | {"enabled": False, "title": "t2", "url": "https://a.example"}
    assert api.post("welcome-notification", changed).status_code == 204
    assert api.get("welcome-notification").json() == changed


def test_a_welcome_is_the_project_s_own(api):
    other, secret = create_project("Other", url="https://other.example.org")
    theirs = Caller(other, secret)
    welcome = {"enabled": True, "type": "news", "title": "t", "body": "b"}
    assert api.post("welcome-notification", welcome).status_code == 204
    assert theirs.get("welcome-notification").json() is None


@pytest.mark.parametrize("version", ["", "v1"])
def test_an_empty_title_is_refused(api, v1, version):
    call = {"notification": notification(title=""), "accounts": []}
    answer = v1.post("notify", [call]) if version else api.post("notify", call)
    assert answer.status_code == 422
    assert answer.json()["field"].endswith("/notification/title")


def test_a_call_for_no_account_counts_as_a_call(api):
    answer = api.post("notify", {"notification": notification(), "accounts": []})
    assert answer.status_code == 200
    assert answer.json() == {"sent": [], "failed": [], "notFound": [], "not_found": []}
    assert answer["X-RateLimit-Remaining"] == "19"


# --- subscribe, leave, subscribe again ------------------------------------------------


def only(*names):
    return ScopeMap.of_types(NotificationType(name, name, name) for name in names)


def subscribe_to(wallet, project, *types):
    made, _ = wallet.request(project, app=DID, scope=only(*types))
    deliver(made.publish)
    return claims_of(parse(open_last(made.sym_key_s)).result["responseAuth"])["sbs"][0]


def test_subscribing_again_replaces_the_types_and_keeps_the_key(project, mainnet):
    first = subscribe_to(mainnet, project, "alerts")
    # Ids that the project does not list are the dapp's affair.
    listed_elsewhere = str(uuid.uuid4())
    second = subscribe_to(mainnet, project, "news", listed_elsewhere)
    assert second["symKey"] == first["symKey"]
    assert (first["scope"], second["scope"]) == (["alerts"], ["news", listed_elsewhere])


def test_a_subscribe_that_was_overtaken_does_not_bring_its_types_back(project, mainnet):
    """The servers of 2024 go by arrival; a device's own requests have an order."""
    now = clock.now()
    with clock.frozen(now):
        late, _ = mainnet.request(project, app=DID, scope=only("alerts"))
    with clock.frozen(now + timedelta(seconds=1)):
        subscribe_to(mainnet, project, "news")
        deliver(late.publish)
    assert isinstance(parse(open_last(late.sym_key_s)), JsonRpcError)
    assert Subscriber.objects.get().scope == ["news"]


def test_the_same_address_on_another_chain_has_the_same_subscription(
    project, mainnet, polygon
):
    watches = [(wallet, watch(wallet)) for wallet in (mainnet, polygon)]
    first = subscribe_to(mainnet, project, "alerts")
    second = subscribe_to(polygon, project, "news")
    assert first["symKey"] == second["symKey"]
    assert second["account"] == str(polygon.account)
    assert Subscriber.objects.count() == 1
    announced()
    for wallet, made in watches:
        [element] = list_in(made, 4012)
        assert (element.account, element.scope) == (wallet.account, ("news",))
        assert element.sym_key.hex() == first["symKey"]


def test_after_a_delete_a_subscribe_makes_a_new_key_and_messages_arrive(
    project, mainnet, api
):
    first = later_subscription(mainnet, project)
    call = {"notification": notification(), "accounts": [str(mainnet.account)]}
    assert api.post("notify", call).json()["sent"] == call["accounts"]
    shared = dataclasses.replace(first, metadata=metadata_of(project))
    mainnet.delete(project, shared, dialect=V1)
    assert api.post("notify", call).json()["not_found"] == call["accounts"]
    with clock.frozen(clock.now() + timedelta(seconds=1)):
        second = later_subscription(mainnet, project)
        assert second.topic != first.topic
        assert api.post("notify", call).json()["sent"] == call["accounts"]
    assert len(open_all(second.sym_key, 4002)) == 1
    # What was sent before the delete is not in the pages of the new subscription.
    assert len(page(mainnet, project, second, lmt=5)["nfs"]) == 1


# --- lists in the spelling of the device that asks ------------------------------------


@pytest.fixture
def two_dapps(project, mainnet, polygon):
    """On mainnet subscribed to the one, on polygon to the other; both watch all."""
    other, _ = create_project("Other", url="https://other.example.org")
    watch(mainnet)
    watch(polygon)
    mine = later_subscription(mainnet, project)
    claims = later_subscribe(polygon, other, app=OTHER_DID)
    return mine, claims


def test_a_subscribe_is_answered_in_the_device_s_spelling(two_dapps, polygon):
    _, claims = two_dapps
    assert accounts_in(claims) == {
        "dapp.example.org": str(polygon.account),
        "other.example.org": str(polygon.account),
    }


def test_an_update_is_answered_in_the_device_s_spelling(project, two_dapps, polygon):
    """Also of a subscription that was made on another chain."""
    subscription, _ = two_dapps
    polygon.update(project, subscription, {"news"})
    assert accounts_in(answered(subscription, 4009)) == {
        "dapp.example.org": str(polygon.account),
        "other.example.org": str(polygon.account),
    }


def test_a_delete_is_answered_in_the_device_s_spelling(project, two_dapps, polygon):
    subscription, _ = two_dapps
    shared = dataclasses.replace(subscription, metadata=metadata_of(project))
    polygon.delete(project, shared, dialect=V1)
    assert accounts_in(answered(subscription, 4005)) == {
        "other.example.org": str(polygon.account)
    }


def test_a_device_that_does_not_watch_reads_that_dapp_only(project, mainnet, polygon):
    other, _ = create_project("Other", url="https://other.example.org")
    later_subscribe(mainnet, project)
    claims = later_subscribe(polygon, other, app=OTHER_DID)
    assert accounts_in(claims) == {"other.example.org": str(polygon.account)}


# --- pages and welcomes ---------------------------------------------------------------


def test_a_page_has_the_time_at_which_a_notification_was_sent(project, mainnet):
    subscription = later_subscription(mainnet, project)
    draft = NotifyMessage(type="alerts", title="Hello", body="World")
    before = clock.now_ms()
    notify(project, draft, [str(mainnet.account)])
    after = clock.now_ms()
    [found] = page(mainnet, project, subscription, lmt=5)["nfs"]
    assert (found["type"], found["title"], found["body"]) == (
        "alerts",
        "Hello",
        "World",
    )
    assert before <= found["sent_at"] <= after


def test_a_welcome_is_sent_once_and_is_on_the_page(project, mainnet):
    set_welcome(project, WELCOME, enabled=True)
    later_subscribe(mainnet, project)
    subscription = later_subscription(mainnet, project)
    [message] = open_all(subscription.sym_key, 4002)
    shown = claims_of(message.params["messageAuth"])["msg"]
    assert (shown["type"], shown["title"]) == ("news", "Welcome")
    [found] = page(mainnet, project, subscription, lmt=5)["nfs"]
    assert found["id"] == shown["id"]


def test_a_welcome_that_is_switched_off_is_nowhere(project, mainnet):
    set_welcome(project, WELCOME, enabled=False)
    subscription = later_subscription(mainnet, project)
    assert sent(subscription.topic, 4002) == []
    assert page(mainnet, project, subscription, lmt=5)["nfs"] == []
    assert Delivery.objects.count() == Notification.objects.count() == 0
