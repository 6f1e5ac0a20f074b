"""The twenty steps with another implementation: ``manage.py demo --with-node``.

W1 is a wallet built from the published npm packages, Wx a device of this server. They share
only the account and the relay. The wallet reports its own steps; those of the Cast Server
come from its step records, those of Wx from its database rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings

from demonstration.node_wallet import NodeWallet, NodeWalletError, require_node
from demonstration.run import (
    DemoFailed,
    Demonstration,
    Progress,
    missing,
    progress_of,
    require_running_system,
)
from messaging.models import Party, TopicSubscription
from runlog import services as runlog
from subscriptions.models import Subscription
from walletconnect.notify.steps import Actor, Step

NODE_WALLET: Final = "the Node wallet"


@dataclass(slots=True)
class NodeDemonstration(Demonstration):
    """``Demonstration`` with one device here and the other wallet in Node.js."""

    steps: dict[int, Progress] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self) -> None:
        try:
            require_node()
            require_running_system()
            self._find_dapp()
            self._sign_in()
            self._enable_sync()
            with NodeWallet(self._environment()) as wallet:
                self._run_wallet(wallet)
        except NodeWalletError as error:
            raise DemoFailed(str(error)) from None

    @property
    def _device_names(self) -> tuple[str, ...]:
        return (Actor.WX.value,)

    def _environment(self) -> dict[str, str]:
        """Server URLs and keys for the wallet, as configured in any wallet."""
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

    def _run_wallet(self, wallet: NodeWallet) -> None:
        ready = self._await_event(wallet, "is ready")
        self._show(
            "sign-in", Actor.W1.value, f"{NODE_WALLET} is ready", at=_at(ready["at"])
        )
        wallet.send("subscribe")
        # Report the steps in order until all were taken.
        subscription = None
        reported: set[int] = set()
        expected = self._expected_steps()
        for _ in self._wait_for(None):
            self._read_events(wallet)
            self._read_cast_steps()
            subscription = self._read_peer_steps()
            for step in sorted(expected - reported):
                if step not in self.steps:
                    break
                self.report(self.steps[step])
                reported.add(step)
            if subscription is not None and expected <= reported:
                break
        if subscription is None or not expected <= reported:
            raise DemoFailed(missing(expected - reported))
        if self.project is not None:
            record = self._notify(self.project, subscription)
            received = self._await_event(wallet, "received")
            self._show(
                "message",
                Actor.W1.value,
                f"{NODE_WALLET} has “{received['title']}”",
                at=_at(received["at"]),
            )
            self._await_receipt(record)
        wallet.send("end")

    def _await_event(self, wallet: NodeWallet, did: str) -> dict[str, Any]:
        for _ in self._wait_for(f"{NODE_WALLET}: {did}"):
            self._read_events(wallet)
            if did in self.events:
                break
        return self.events[did]

    def _read_events(self, wallet: NodeWallet) -> None:
        for event in wallet.events():
            if "step" in event:
                step = Step(event["step"])
                self.steps[step] = Progress(
                    int(step),
                    Actor.W1.value,
                    step.description,
                    _at(event["at"]),
                    event["wire"],
                )
            self.events[event["did"]] = event

    # --- the twenty steps -----------------------------------------------------------

    def _read_cast_steps(self) -> None:
        derived = self.steps.get(Step.DERIVE_RESPONSE_TOPIC)
        if derived is not None:
            for record in runlog.of_run(derived.wire["responseTopic"]):
                self.steps[record.step] = progress_of(record)

    def _read_peer_steps(self) -> Subscription | None:
        """Steps 19 and 20. Wx has no record of the run, so take them from its rows."""
        derived = self.steps.get(Step.DERIVE_NOTIFY_TOPIC)
        if derived is None:
            return None
        topic = derived.wire["notifyTopic"]
        row = Subscription.objects.filter(account=self._known_account, topic=topic)
        subscription = row.first()
        if subscription is None:
            return None
        self._add_peer_step(Step.STORE_SUBSCRIPTION, subscription.created_at, key=topic)
        confirmed = TopicSubscription.objects.filter(
            party=Party.WALLET, topic=topic, confirmed_at__isnull=False
        ).first()
        if confirmed is not None and confirmed.confirmed_at is not None:
            self._add_peer_step(
                Step.PEER_SUBSCRIBE_NOTIFY_TOPIC, confirmed.confirmed_at, topic=topic
            )
        return subscription

    def _add_peer_step(self, step: Step, at: datetime, **wire: str) -> None:
        device = {"device": self.devices[0].name}
        progress = Progress(
            int(step), Actor.WX.value, step.description, at, device | wire
        )
        self.steps.setdefault(step, progress)


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
