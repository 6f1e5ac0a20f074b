"""Runs the whole protocol once against the running system.

A temporary account signs in on two devices, turns Sync on, subscribes to a dapp and
receives a notification. This module only plays the user at the two browsers; the steps
themselves run in the worker, the gateway and the relay, as always.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from accounts.models import Account
from accounts.services import remove_account
from castserver.models import Delivery, Project
from castserver.services.errors import CastError
from castserver.services.notifications.notify import notify
from castserver.services.projects.demo import seed_demo
from common import clock, entropy, outbound
from common.outbound import OutboundError
from identity import services as identity
from runlog import services as runlog
from subscriptions import services as wallet
from subscriptions.models import NotifyMessageRecord, SubscribeAttempt
from syncstore.models import ColdStart
from syncstore.services import enable_sync, message_to_sign
from walletconnect.crypto.ethereum import address_of, sign_eip191
from walletconnect.notify.steps import Actor, Step
from walletconnect.notify.values import NotifyMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from accounts.models import Device
    from runlog.models import StepRecord
    from subscriptions.models import Subscription

POLL_S: Final = 0.05
USER_AGENTS: Final = {
    Actor.W1.value: "Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0",
    Actor.WX.value: "Mozilla/5.0 (Windows NT 10.0) Chrome/130.0",
}
TITLE: Final = "Hello from the demo"
BODY: Final = "One notification, on every device of the account."


class DemoFailed(Exception):
    """The demonstration stopped; the message contains the step and the reason."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One of the twenty steps, or an event around them such as "sign-in"."""

    step: int | str
    actor: str
    text: str
    at: datetime
    wire: dict[str, Any] = field(default_factory=dict)

    def to_value(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "actor": self.actor,
            "at": self.at.isoformat(),
            "text": self.text,
            "wire": self.wire,
        }


@dataclass(slots=True)
class Demonstration:
    """One run. ``timeout_s`` limits each wait."""

    report: Callable[[Progress], None]
    dapp_url: str = ""
    timeout_s: float = 60.0
    project: Project | None = None
    account: Account | None = None
    devices: list[Device] = field(default_factory=list)
    private_key: bytes = field(default=b"", repr=False)

    def run(self) -> None:
        require_running_system()
        self._find_dapp()
        self._sign_in()
        self._enable_sync()
        subscription = self._subscribe()
        if self.project is not None:
            record = self._notify(self.project, subscription)
            self._await_receipt(record)

    def clean_up(self) -> None:
        """Remove the account, which also unsubscribes it from the dapp."""
        if self.account is not None:
            remove_account(self.account, by=None)

    # --- sign-in and Sync -----------------------------------------------------------

    def _find_dapp(self) -> None:
        if self.dapp_url:
            self.project = Project.objects.filter(url=self.dapp_url).first()
            return
        try:
            self.project = seed_demo()
        except CastError as error:
            raise DemoFailed(f"{error.reason}; name a dapp with --dapp URL") from None
        self.dapp_url = self.project.url

    def _sign_in(self) -> None:
        self.private_key = entropy.key_bytes()
        for name in self._device_names:
            session_key = entropy.token_hex(16)
            request = identity.begin_sign_in(
                session_key, account=self._address, origin=settings.PUBLIC_URL
            )
            device = identity.complete_sign_in(
                session_key,
                nonce=request.nonce,
                signature=sign_eip191(request.message, self.private_key),
                user_agent=USER_AGENTS[name],
            )
            self.devices.append(device)
        account = Account.objects.at(self._address).select_related("user").get()
        account.is_demo = True
        account.save(update_fields=["is_demo"])
        self.account = account
        for name, device in zip(self._device_names, self.devices, strict=True):
            self._show("sign-in", name, f"{device} signs in as {account.address}")

    @property
    def _address(self) -> str:
        return f"eip155:1:{address_of(self.private_key)}"

    @property
    def _device_names(self) -> tuple[str, ...]:
        return Actor.W1.value, Actor.WX.value

    def _enable_sync(self) -> None:
        account = self._known_account
        signature = sign_eip191(message_to_sign(account), self.private_key)
        for device in self.devices:
            store, *_ = enable_sync(account, signature, device)
        for _ in self._wait_for("History to be replayed"):
            state = ColdStart.objects.get(account=account).state
            if state == ColdStart.State.DONE:
                break
        self._show(
            "sync",
            self._device_names[0],
            "the devices of the account share one store",
            topic=store.topic,
        )

    @property
    def _known_account(self) -> Account:
        if self.account is None:
            raise DemoFailed("no account has signed in")
        return self.account

    # --- the twenty steps -----------------------------------------------------------

    def _subscribe(self) -> Subscription:
        try:
            attempt = wallet.subscribe(
                self._known_account, self.dapp_url, device=self.devices[0]
            )
        except wallet.SubscriptionRefused as error:
            raise DemoFailed(str(error)) from None
        seen: set[tuple[int, str]] = set()
        wanted = self._expected_steps()
        for _ in self._wait_for(None):
            attempt.refresh_from_db()
            self._show_new_steps(attempt, seen)
            if wanted <= {step for step, _ in seen} and attempt.subscription:
                return attempt.subscription
            if attempt.state in {attempt.State.REJECTED, attempt.State.EXPIRED}:
                raise DemoFailed(f"the attempt is {attempt.state}: {attempt.reason}")
        raise DemoFailed(missing(wanted - {step for step, _ in seen}))

    def _expected_steps(self) -> set[int]:
        """All twenty; for a dapp on another server, those that are recorded here."""
        return {step for step in Step if self._is_recorded(step)}

    def _is_recorded(self, step: int) -> bool:
        return self.project is not None or Step(step).actor is not Actor.CAST

    def _show_new_steps(
        self, attempt: SubscribeAttempt, seen: set[tuple[int, str]]
    ) -> None:
        if not attempt.response_topic:
            return
        # Stop at a gap, to print the steps in order: the relay may confirm a topic
        # subscription (steps 7, 17) shortly after a later step.
        complete = {0} | {step for step, _ in seen}
        for record in runlog.of_run(attempt.response_topic):
            if record.step - 1 not in complete and self._is_recorded(record.step - 1):
                return
            complete.add(record.step)
            if (record.step, record.actor_key) not in seen:
                seen.add((record.step, record.actor_key))
                self.report(progress_of(record))

    # --- a notification -------------------------------------------------------------

    def _notify(
        self, project: Project, subscription: Subscription
    ) -> NotifyMessageRecord:
        types = [name for name, each in subscription.scope.items() if each["enabled"]]
        message = NotifyMessage(
            type=types[0], title=TITLE, body=BODY, url=self.dapp_url
        )
        address = self._known_account.address
        outcome = notify(project, message, [address])
        if address not in outcome.sent:
            reasons = [each.reason for each in outcome.failed] or ["not found"]
            raise DemoFailed(f"the notification was not sent: {'; '.join(reasons)}")
        self._show("notify", Actor.CAST.value, f"sends “{TITLE}”", type=types[0])
        found = NotifyMessageRecord.objects.filter(
            subscription=subscription, title=TITLE
        )
        for _ in self._wait_for("the notification"):
            if found.exists():
                break
        record = found[0]
        for name, device in zip(self._device_names, self.devices, strict=True):
            self._show(
                "message",
                name,
                f"{device} has “{record.title}”",
                at=record.received_at,
                id=record.rpc_id,
            )
        return record

    def _await_receipt(self, record: NotifyMessageRecord) -> None:
        for _ in self._wait_for("the receipt"):
            delivery = Delivery.objects.filter(rpc_id=record.rpc_id).first()
            if delivery is not None and delivery.receipt_at is not None:
                self._show(
                    "receipt",
                    Actor.CAST.value,
                    "received the receipt",
                    at=delivery.receipt_at,
                )
                return

    # --- waiting and showing --------------------------------------------------------

    def _wait_for(self, what: str | None) -> Iterator[None]:
        """Yield at intervals; after ``timeout_s`` fail, or end if ``what`` is None."""
        until = clock.monotonic() + self.timeout_s
        while clock.monotonic() < until:
            yield
            time.sleep(POLL_S)
        if what is not None:
            raise DemoFailed(f"waited {self.timeout_s:.0f} s for {what}")

    def _show(
        self,
        step: str,
        actor: str,
        text: str,
        *,
        at: datetime | None = None,
        **wire: Any,
    ) -> None:
        self.report(Progress(step, actor, text, at or clock.now(), wire))


def progress_of(record: StepRecord) -> Progress:
    text = Step(record.step).description
    return Progress(record.step, record.actor, text, record.at, dict(record.wire))


def missing(numbers: set[int]) -> str:
    steps = [f"step {number}: {Step(number).description}" for number in sorted(numbers)]
    return "not seen: " + "; ".join(steps)


def require_running_system() -> None:
    """Fail at once with instructions if the system is not running."""
    try:
        answer = outbound.fetch(
            "GET",
            f"{settings.PUBLIC_URL}/readyz",
            max_bytes=64 * 1024,
            deadline=10,
            headers={"Accept": "application/json"},
        )
    except OutboundError as error:
        raise DemoFailed(
            f"the system is not up at {settings.PUBLIC_URL} ({error}); "
            "start it with: make run"
        ) from None
    if answer.status != 200:
        raise DemoFailed(f"the system is not ready: {answer.body.decode()[:500]}")
