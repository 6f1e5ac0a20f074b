"""Who uses the system while it breaks: Alice with two devices, and dapps with a webhook.

Everything goes through the addresses of the system, as people and dapps use it. Rows are
read only to compare both sides afterwards.
"""

from __future__ import annotations

import itertools
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from tests.browser_device import BrowserDevice
from tests.castserver.receiver import Receiver
from tests.faults.waiting import insist, wait_for
from walletconnect.crypto.ethereum import address_of

if TYPE_CHECKING:
    from tests.faults.deployment import Deployment

TYPE = "a"


@dataclass
class Dapp:
    """A project of the running system and what its backend has sent."""

    pk: str
    name: str
    url: str
    secret: str = field(repr=False)
    base_url: str
    webhook_path: str
    titles: list[str] = field(default_factory=list)

    def notify(self, accounts: list[str], title: str, *, key: str = "") -> list[str]:
        """``key`` is an Idempotency-Key; a program repeats a call only with one."""
        headers = {"Authorization": f"Bearer {self.secret}"}
        headers["Idempotency-Key"] = key or secrets.token_hex(8)
        call = {
            "notification": {"type": TYPE, "title": title, "body": "It still works"},
            "accounts": accounts,
        }
        answer = httpx.post(
            f"{self.base_url}/cast/{self.pk}/notify",
            json=call,
            headers=headers,
            timeout=30,
            trust_env=False,
        )
        # 409: the first call with this key still runs.
        if answer.status_code not in {200, 409, 502, 503}:
            raise AssertionError(f"{answer.status_code} {answer.text[:300]}")
        return answer.raise_for_status().json()["sent"]


class World:
    def __init__(self, system: Deployment) -> None:
        self.system = system
        key = secrets.token_bytes(32)
        self.account = f"eip155:1:{address_of(key)}"
        self.devices = [
            BrowserDevice(system.base_url, self.account, key) for _ in range(2)
        ]
        self.receiver = Receiver()
        self._numbers = itertools.count(1)
        self._log_position = 0
        self._standing: Dapp | None = None

    def __enter__(self) -> World:
        self.receiver.__enter__()
        for device in self.devices:
            device.sign_in()
        return self

    def __exit__(self, *_: object) -> None:
        for device in self.devices:
            device.__exit__()
        self.receiver.__exit__()

    def new_dapp(self) -> Dapp:
        """A project of its own for each fault, whose documents were never read."""
        from castserver.services.projects.projects import TypeDraft, create_project
        from castserver.services.webhooks.webhooks import register_webhook

        number = next(self._numbers)
        project, secret = insist(
            lambda: create_project(f"Dapp {number}", types=[TypeDraft(TYPE, "A")])
        )
        path = f"/hook/{number}"
        insist(
            lambda: register_webhook(
                project, self.receiver.origin + path, events=["subscribed"]
            )
        )
        return Dapp(
            project.pk,
            project.name,
            project.url,
            secret,
            self.system.base_url,
            path,
        )

    def standing_dapp(self) -> Dapp:
        """A dapp to which Alice is subscribed, for faults of notifications."""
        if self._standing is None:
            dapp = self.new_dapp()
            self.subscribe(dapp)
            wait_for("the subscription", lambda: dapp.url in self.subscribed_urls())
            self._standing = dapp
        return self._standing

    def forget_standing_dapp(self) -> None:
        """What one fault has lost must not fail the next one, too."""
        self._standing = None

    # What Alice does ------------------------------------------------------

    def subscribe(self, dapp: Dapp) -> None:
        """Press Subscribe, and again after an error page while nothing has begun."""
        from subscriptions.models import SubscribeAttempt

        attempts = SubscribeAttempt.objects.filter(dapp_url=dapp.url)

        def press() -> bool:
            if attempts.exists():
                return True
            self.devices[0].subscribe(dapp.url, [TYPE])
            return True

        insist(press)

    def subscribed_urls(self) -> set[str]:
        from subscriptions.models import Subscription

        rows = Subscription.objects.active().filter(account__address=self.account)
        return set(rows.values_list("dapp_url", flat=True))

    def hooks(self, dapp: Dapp) -> list[tuple[str, str]]:
        """Id and account of each webhook call to the dapp, repeats included."""
        return [
            (call.headers["webhook-id"], json.loads(call.body)["account"])
            for call in list(self.receiver.received)
            if call.path == dapp.webhook_path
        ]

    def new_log(self) -> str:
        """What the processes have logged since the last call."""
        with self.system.log.open("rb") as log:
            log.seek(self._log_position)
            text = log.read()
        self._log_position += len(text)
        return text.decode("utf-8", "replace")
