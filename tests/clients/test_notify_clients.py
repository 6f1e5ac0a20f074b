"""Wallets of both generations and our own devices, with one dapp. Seed: all twenty steps."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import httpx
import pytest
from standardwebhooks import Webhook

from tests.browser_device import BrowserDevice, wait_for
from tests.castserver.receiver import Receiver
from walletconnect.crypto.ethereum import address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser_device import OwnDapp
    from tests.clients.node import Scenario
    from tests.system import System

pytestmark = pytest.mark.system


def test_two_wallets_go_through_the_twenty_steps(
    scenario: Callable[..., Scenario],
    dapp: OwnDapp,
    owner: BrowserDevice,
    system: System,
) -> None:
    with Receiver() as backend:
        secret = register_webhook(system, dapp, backend.url)
        running = scenario("twenty-steps", dapp=dapp)
        account = running.wait_for("W1 subscribed")["account"]
        event = heard(backend, 1, secret)
        assert (
            event.items()
            >= {
                "event": "subscribed",
                "account": account,
                "dappUrl": dapp.url,
            }.items()
        )
        shown = {10}

        running.wait_for("both received")
        # Each wallet acknowledges for itself; the delivery counts once.
        wait_for("a receipt", lambda: owner.receipts(dapp.slug))
        assert owner.receipts(dapp.slug) == 1

        assert running.finish()[-1] == "deletion reaches Wx and the Cast Server"
        # The updates in between are no further subscriptions.
        event = heard(backend, 2, secret)
        assert (event["event"], event["account"]) == ("unsubscribed", account)
    shown |= {step for fact in running.facts for step in fact.get("steps", [])}
    assert shown == set(range(1, 21))


def register_webhook(system: System, dapp: OwnDapp, url: str) -> str:
    """As a dapp's backend does it; the secret that signs its events."""
    answer = httpx.post(
        f"{system.base_url}/cast/{dapp.project_id}/register-webhook",
        headers={"Authorization": f"Bearer {dapp.secret}"},
        json={"events": ["subscribed", "unsubscribed"], "webhook": url},
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text
    secret: str = answer.json()["secret"]
    return secret


def heard(backend: Receiver, number: int, secret: str) -> dict[str, str]:
    """The backend's event of that number, under a signature that verifies."""
    wait_for(f"event {number}", lambda: len(backend.received) >= number)
    found = backend.received[number - 1]
    event: dict[str, str] = Webhook(secret).verify(found.body, found.headers)
    return event


def test_the_later_generation_works_unchanged(
    scenario: Callable[..., Scenario], dapp: OwnDapp
) -> None:
    assert scenario("later-generation", dapp=dapp).finish() == [
        "two clients watch",
        "subscribe, and the watcher is told",
        "update, then notifications reach both",
        "history in pages",
        "mark as read, everywhere",
        "delete by the second client reaches the first",
    ]


def test_registrations_of_the_later_generation_work_unchanged(
    scenario: Callable[..., Scenario], dapp: OwnDapp, owner: BrowserDevice
) -> None:
    other = owner.make_dapp(
        "another dapp of 1.4.1", {"alerts": "Something urgent", "news": "News"}
    )
    running = scenario("later-registrations", dapp=dapp, other_dapp=other)
    assert running.finish() == [
        "limited clients see what they may manage",
        "a scope without types",
        "unregister, and register anew",
    ]


def test_the_cases_of_the_later_client_s_own_tests_work(
    scenario: Callable[..., Scenario], dapp: OwnDapp, owner: BrowserDevice
) -> None:
    """docs/interop.md says which of its cases are run here and which elsewhere."""
    other = owner.make_dapp("other dapp of its cases", {"alerts": "a", "news": "b"})
    assert scenario("later-own-cases", dapp=dapp, other_dapp=other).finish() == [
        "a subscribe is answered and listed",
        "an update is answered and listed once",
        "a notification arrives, is kept and can be decrypted",
        "a repeated notification is one",
        "the dapp's document is read once",
        "several subscriptions, on every client and at the relay",
        "a delete is answered and listed",
        "a stale registration is replaced after unregistering",
    ]


def test_two_wallets_and_a_browser_device_are_one_account(
    scenario: Callable[..., Scenario], dapp: OwnDapp, system: System
) -> None:
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    running = scenario("shared-account", dapp=dapp, PRIVATE_KEY=f"0x{key.hex()}")
    with BrowserDevice(system.base_url, account, key) as browser:
        browser.sign_in()
        running.wait_for("wallets are ready")
        running.tell("browser is ready")

        topic = running.wait_for("a wallet subscribed")["topic"]
        wait_for("the wallet's", lambda: topic in browser.topics())
        assert browser.enabled_types(topic) == {"alerts", "news"}
        running.tell("browser has it")

        running.wait_for("wallets received")
        wait_for("the message", lambda: "For all three" in browser.inbox())

        browser.update(topic, ["alerts"])
        running.tell("browser turned news off")
        running.wait_for("scope went both ways")
        both = {"alerts", "news"}
        wait_for("news on", lambda: browser.enabled_types(topic) == both)

        browser.unsubscribe(topic)
        running.tell("browser left")
        running.wait_for("deletion by the browser reached the wallets")

        browser.subscribe(dapp.url, ["alerts", "news"])
        wait_for("its own", browser.topics)
        running.tell("browser subscribed")
        running.wait_for("a subscription of the browser reached the wallets")
        wait_for("the second", lambda: "Second round" in browser.inbox())

        running.wait_for("a wallet left")
        wait_for("the end of it", lambda: not browser.topics())
    running.finish()


def test_a_dapp_replaces_its_keys_and_all_its_subscribers_stay(
    scenario: Callable[..., Scenario], system: System
) -> None:
    people = [secrets.token_bytes(32) for _ in range(3)]
    accounts = [f"eip155:1:{address_of(key)}" for key in people]
    with (
        BrowserDevice(system.base_url, accounts[0], people[0]) as owner,
        BrowserDevice(system.base_url, accounts[1], people[1]) as before,
        BrowserDevice(system.base_url, accounts[2], people[2]) as after,
    ):
        for person in (owner, before, after):
            person.sign_in()
        dapp = owner.make_dapp("Rotating", {"alerts": "Urgent", "news": "News"})
        running = scenario("key-rotation", dapp=dapp)
        before.subscribe(dapp.url, ["alerts"])
        wait_for("the subscription", before.topics)
        running.wait_for("subscribed with the old keys")

        path = f"/console/{dapp.slug}/keys/replace"
        old = did_of(system, dapp)
        owner.page(path)
        owner.post(path, act="begin")
        assert did_of(system, dapp) != old
        running.tell("keys were replaced")
        running.wait_for("both receive what the new key signs")
        after.subscribe(dapp.url, ["alerts"])
        wait_for("the subscription", after.topics)
        send(system, dapp, accounts[1:], "To our devices")
        # A device shows only what it has verified.
        for person in (before, after):
            wait_for(
                "the message", lambda each=person: "To our devices" in each.inbox()
            )
        assert running.finish()[-2:] == [
            "subscribed with the new keys",
            "both update and leave",
        ]


def did_of(system: System, dapp: OwnDapp) -> str:
    """The authentication key that the dapp's did.json names."""
    path = f"{system.base_url}/dapps/{dapp.slug}/.well-known/did.json"
    answer = httpx.get(path, trust_env=False)
    key: str = answer.json()["verificationMethod"][1]["publicKeyJwk"]["x"]
    return key


def send(system: System, dapp: OwnDapp, accounts: list[str], title: str) -> None:
    answer = httpx.post(
        f"{system.base_url}/cast/notify",
        headers={"Authorization": f"Bearer {dapp.secret}"},
        json={
            "accounts": accounts,
            "notification": {"type": "alerts", "title": title, "body": "World"},
        },
        trust_env=False,
    )
    assert sorted(answer.json()["sent"]) == sorted(accounts), answer.text
