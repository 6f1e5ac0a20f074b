"""The twenty steps between strangers: what ``manage.py demo --with-node`` shows.

W1 is a wallet made of the published npm packages, Wx a browser device of ours. They share
nothing but an account, and meet on the relay. Each step is told by whom it was taken:
W1's by the wallet itself, the Cast Server's by its records, Wx's by its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings

from demonstration.node_wallet import NodeWallet, NoNodeWallet, require_node
from demonstration.run import (
    DemoFailed,
    Demonstration,
    StepSeen,
    missing,
    require_running_system,
    seen_step,
)
from messaging.models import Party, TopicSubscription
from runlog import services as runlog
from subscriptions.models import Subscription
from walletconnect.notify.steps import Actor, Step

NODE_WALLET: Final = "the Node wallet"


@dataclass(slots=True)
class NodeDemonstration(Demonstration):
    """As ``Demonstration``, with one device here and the other wallet in Node.js."""

    told: dict[int, StepSeen] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self) -> None:
        try:
            require_node()
            require_running_system()
            self._find_dapp()
            self._sign_in()
            self._enable_sync()
            with NodeWallet(self._environment()) as wallet:
                self._converse(wallet)
        except NoNodeWallet as error:
            raise DemoFailed(str(error)) from None

    @property
    def _device_names(self) -> tuple[str, ...]:
        return (Actor.WX.value,)

    def _environment(self) -> dict[str, str]:
        """Where the wallet finds everybody, as any wallet would be told."""
        relay = settings.RELAY_PUBLIC_URL if settings.EMBEDDED_RELAY else None
        return {
            "PRIVATE_KEY": f"0x{self.private_key.hex()}",
            "TARGET_RELAY_URL": relay or settings.RELAY_URL,
            "TARGET_KEYS_URL": settings.KEYS_SERVER_URL,
            "TARGET_HISTORY_URL": settings.HISTORY_SERVER_URL,
            "PROJECT_ID": settings.PROJECT_ID or "demo",
            "DAPP_URL": self.dapp_url,
            "DAPP_NAME": self.project.name if self.project else self.dapp_url,
        }

    def _converse(self, wallet: NodeWallet) -> None:
        ready = self._fact(wallet, "is ready")
        self._show(
            "sign-in", Actor.W1.value, f"{NODE_WALLET} is ready", at=_at(ready["at"])
        )
        wallet.tell("subscribe")
        subscription = self._watch(wallet)
        if self.project is not None:
            record = self._notify(self.project, subscription)
            self._show_arrival(record)
            received = self._fact(wallet, "received")
            self._show(
                "message",
                Actor.W1.value,
                f"{NODE_WALLET} has “{received['title']}”",
                at=_at(received["at"]),
            )
            self._receipt(record)
        wallet.tell("end")

    def _fact(self, wallet: NodeWallet, did: str) -> dict[str, Any]:
        for _ in self._wait_for(f"{NODE_WALLET}: {did}"):
            self._listen(wallet)
            if did in self.facts:
                return self.facts[did]
        raise DemoFailed(f"{NODE_WALLET} never said: {did}")

    def _listen(self, wallet: NodeWallet) -> None:
        for fact in wallet.facts():
            if "step" in fact:
                step = Step(fact["step"])
                self.told[step] = StepSeen(
                    int(step),
                    Actor.W1.value,
                    step.description,
                    _at(fact["at"]),
                    fact["wire"],
                )
            self.facts[fact["did"]] = fact

    # --- the twenty steps -----------------------------------------------------------

    def _watch(self, wallet: NodeWallet) -> Subscription:
        """Show the steps in the order of their numbers until all are taken."""
        shown: set[int] = set()
        wanted = self._wanted_steps()
        for _ in self._wait_for(None):
            self._listen(wallet)
            self._ask_cast_server()
            subscription = self._ask_browser()
            self._show_in_order(shown)
            if subscription is not None and wanted <= shown:
                return subscription
        raise DemoFailed(missing(wanted - shown))

    def _ask_cast_server(self) -> None:
        derived = self.told.get(Step.DERIVE_RESPONSE_TOPIC)
        if derived is not None:
            for record in runlog.of_run(derived.wire["responseTopic"]):
                self.told[record.step] = seen_step(record)

    def _ask_browser(self) -> Subscription | None:
        """Steps 19 and 20: Wx is not told of the run, so its rows speak."""
        derived = self.told.get(Step.DERIVE_NOTIFY_TOPIC)
        if derived is None:
            return None
        topic = derived.wire["notifyTopic"]
        row = Subscription.objects.filter(account=self._known_account, topic=topic)
        subscription = row.first()
        if subscription is None:
            return None
        self._browser_took(Step.STORE_SUBSCRIPTION, subscription.created_at, key=topic)
        heard = TopicSubscription.objects.filter(
            party=Party.WALLET, topic=topic, confirmed_at__isnull=False
        ).first()
        if heard is not None and heard.confirmed_at is not None:
            self._browser_took(
                Step.PEER_SUBSCRIBE_NOTIFY_TOPIC, heard.confirmed_at, topic=topic
            )
        return subscription

    def _browser_took(self, step: Step, at: datetime, **wire: str) -> None:
        device = {"device": self.devices[0].name}
        sight = StepSeen(int(step), Actor.WX.value, step.description, at, device | wire)
        self.told.setdefault(step, sight)

    def _show_in_order(self, shown: set[int]) -> None:
        for step in sorted(self._wanted_steps() - shown):
            if step not in self.told:
                return
            self.tell(self.told[step])
            shown.add(step)


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
