"""An ``eip155`` account is its address: chain and letter case do not matter."""

from __future__ import annotations

import dataclasses
from importlib import import_module

import pytest
from django.core.management import call_command
from django.db import connection

from castserver.models import (
    ChangedSubscriptions,
    Delivery,
    Subscriber,
    WebhookDelivery,
)
from castserver.services.notifications.broadcast import notify_everyone
from castserver.services.notifications.notify import audience, notify
from castserver.services.projects.documents import server_did_document
from castserver.services.webhooks.webhooks import register_webhook
from common import clock
from common.limits import Bucket
from identity.services import keys_server
from tests.cacaos import identity_payload
from tests.castserver.test_later_generation import list_in, watch
from tests.castserver.world import Wallet, claims_of, open_last, sent
from tests.ethereum_node import ACCEPTING, account_on, running_node
from walletconnect.crypto.ethereum import personal_digest
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.identity.cacao import EIP1271, Cacao, build_message
from walletconnect.identity.did import AccountId
from walletconnect.notify.values import NotifyMessage
from walletconnect.relay.rpc import JsonRpcError, parse

DRAFT = NotifyMessage(type="alerts", title="Hello", body="World")


@pytest.fixture
def polygon():
    """Alice's wallet while it is on another chain."""
    return Wallet("alice", "polygon", chain="137").register()


def spellings(wallet):
    address = wallet.account.address
    return [
        f"eip155:1:{address}",
        f"eip155:137:{address.lower()}",
        f"eip155:42161:0x{address[2:].upper()}",
        f"eip155:10:{address.upper()}",
    ]


def test_a_contract_wallet_subscribes_and_is_reached(project, api, settings):
    wallet = Wallet("safe")
    wallet.account = AccountId.parse(account_on(1, ACCEPTING))
    wallet.identity = dataclasses.replace(wallet.identity, account=wallet.account)
    payload = identity_payload(
        wallet.account,
        identity_key=wallet.key.did,
        keys_server_url=settings.KEYS_SERVER_URL,
        nonce="0" * 32,
        now=clock.now_s(),
    )
    signature = "0x" + personal_digest(build_message(payload)).hex()
    with running_node() as node:
        settings.RPC_URLS = {1: node.url}
        keys_server.register(Cacao.signed(payload, signature, EIP1271).to_value())
    # The node is gone: messages use the answer that was stored.
    subscription = wallet.subscribe(project)
    api.post(
        "notify",
        {
            "notification": {"type": "alerts", "title": "Hello", "body": "World"},
            "accounts": [str(wallet.account)],
        },
    )
    assert len(sent(subscription.topic, 4002)) == 1


def live():
    return Subscriber.objects.live(clock.now())


@pytest.mark.parametrize("place", range(4))
def test_each_spelling_reaches_the_subscriber(project, alice, api, place):
    subscription = alice.subscribe(project)
    spelling = spellings(alice)[place]
    answer = api.post(
        "notify",
        {
            "notification": {
                "type": "alerts",
                "title": "Hello",
                "body": "World",
            },
            "accounts": [spelling],
        },
    )
    assert answer.json()["sent"] == [spelling]
    assert answer.json()["not_found"] == []
    assert len(sent(subscription.topic, 4002)) == 1


def test_all_spellings_in_one_call_are_one_delivery(project, polygon):
    subscription = polygon.subscribe(project)
    outcome = notify(project, DRAFT, spellings(polygon))
    assert sorted(outcome.sent) == sorted(spellings(polygon))
    assert outcome.failed == outcome.not_found == ()
    assert Delivery.objects.count() == len(sent(subscription.topic, 4002)) == 1
    claims = claims_of(
        parse(open_last(subscription.sym_key, 4002)).params["messageAuth"]
    )
    assert claims["aud"] == polygon.account.did


def test_the_rate_of_a_subscriber_is_the_address_s(project, alice, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, notify_subscriber=Bucket(1, 0.0001)
    )
    alice.subscribe(project)
    first, second = spellings(alice)[:2]
    assert notify(project, DRAFT, [first]).sent == (first,)
    assert [each.account for each in notify(project, DRAFT, [second]).failed] == [
        second
    ]


def test_other_namespaces_are_compared_exactly(project, alice):
    alice.subscribe(project)
    account = "cosmos:cosmoshub-3:cosmos1t2uf"
    Subscriber.objects.update(account=account, account_key=account)
    others = ["cosmos:cosmoshub-4:cosmos1t2uf", "cosmos:cosmoshub-3:cosmos1T2uf"]
    outcome = notify(project, DRAFT, [account, *others])
    assert outcome.sent == (account,)
    assert outcome.not_found == tuple(others)


def test_scopes_are_answered_in_the_caller_s_spelling(project, alice, api):
    alice.subscribe(project)
    api_v1 = type(api)(project, api.secret, prefix=f"/cast/v1/{project.pk}")
    answer = api_v1.post("subscribers", {"accounts": spellings(alice)}).json()
    assert sorted(answer) == sorted(spellings(alice))
    assert api.get("subscribers").json() == [str(alice.account)]


def test_an_account_on_two_chains_is_one_subscriber(project, alice, polygon, api):
    """Both wallets keep their topic; the dapp sees one account, as written last."""
    register_webhook(project, "https://dapp.example.org/hook", events=["subscribed"])
    first, second = alice.subscribe(project), polygon.subscribe(project)
    assert first.topic != second.topic
    assert api.get("subscribers").json() == [str(polygon.account)]
    assert audience(project, "alerts").subscribers == 1
    assert WebhookDelivery.objects.count() == 1
    assert notify_everyone(project, DRAFT).sent == (str(polygon.account),)
    assert len(sent(first.topic, 4002)) == len(sent(second.topic, 4002)) == 1


def test_a_wallet_on_another_chain_changes_and_ends_the_subscription(
    project, alice, polygon
):
    subscription = alice.subscribe(project)
    polygon.update(project, subscription, {"alerts"})
    [row] = live()
    assert (row.scope, row.account) == (["alerts"], str(alice.account))
    polygon.delete(project, subscription)
    assert not live().exists()


def test_another_chain_does_not_admit_another_address(project, alice):
    mallory = Wallet("mallory", chain="137").register()
    subscription = alice.subscribe(project)
    mallory.update(project, subscription, {"alerts"})
    assert isinstance(parse(open_last(subscription.sym_key, 4009)), JsonRpcError)
    assert len(live().get().scope) == 3


def test_a_watcher_on_another_chain_reads_the_list_in_its_spelling(project, alice):
    server_did_document()
    alice.subscribe(project)
    phone = Wallet("alice", "later", statement=ALL_APPS_STATEMENT, chain="8453")
    phone.register()
    assert [each.account for each in list_in(watch(phone))] == [phone.account]


def test_the_command_takes_bare_addresses(project, alice, capsys):
    alice.subscribe(project)
    call_command(
        "notify",
        project.pk,
        *("--type", "alerts", "--title", "Hello", "--body", "World"),
        *("--account", alice.account.address.lower()),
        *("--account", spellings(alice)[1]),
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["sent", "sent"]
    assert Delivery.objects.count() == 1


def test_subscribers_of_before_are_found_by_their_address(project, alice, polygon):
    """The migration: rows that differed only in the chain both stay, as one account."""
    alice.subscribe(project)
    polygon.subscribe(project)
    for row in Subscriber.objects.all():
        Subscriber.objects.filter(pk=row.pk).update(account_key=row.account.lower())
    for source, key in (("a", alice), ("a", polygon), ("b", polygon)):
        ChangedSubscriptions.objects.create(
            account_key=str(key.account).lower(),
            app_domain="dapp.example.org",
            source_did=source,
            due_at=clock.now(),
        )
    module = import_module("castserver.migrations.0003_accounts_without_chain")
    with connection.cursor() as cursor:
        for operation in module.Migration.operations:
            cursor.execute(operation.sql)
    assert live().of_accounts([alice.account.key]).count() == 2
    assert set(
        ChangedSubscriptions.objects.values_list("account_key", "source_did")
    ) == {
        (alice.account.key, "a"),
        (alice.account.key, "b"),
    }
    assert notify(project, DRAFT, spellings(alice)).not_found == ()
