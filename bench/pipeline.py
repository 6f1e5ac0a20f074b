"""Our clients of a relay: outbox to relay, relay to inbox, inbox through a handler.

Everything is real and durable: PostgreSQL, Redis, the embedded relay and the gateway in
processes of their own. The ratio compares with the goal of docs/performance.md: 10,000
notifications with their rows stored and acknowledged in a second.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.environment import free_port, running, services
from bench.report import micro, per_second

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.report import Report

MESSAGES = 10_000
TOPICS = 1_000
CHUNK = 1_000
PLAINTEXT = "x" * 400
TAG = 5900
PATIENCE_S = 120


def run(report: Report, seconds: float) -> None:
    relay_port = free_port()
    with services(NOTIFYWEB_RELAY_PORT=str(relay_port)):
        import django

        django.setup()
        relay = ("manage.py", "relay", "--port", str(relay_port))
        with running(*relay, port=relay_port) as the_relay:
            _measure(report, relay_port, the_relay.cpu)
    report.note(f"{MESSAGES} messages of 0.6 KB on {TOPICS} topics, 0 workers beside")


def _measure(report: Report, relay_port: int, relay_cpu: Callable[[], float]) -> None:
    from common import entropy
    from keychain import services as keychain
    from messaging import outbox
    from messaging.models import InboxMessage, OutboxMessage, Party
    from walletconnect.crypto.keys import SymKey

    keys = [SymKey(entropy.key_bytes()) for _ in range(TOPICS)]
    keychain.put_sym_keys(keychain.Holder.WALLET, keys)
    publications = [_publication(keys[n % TOPICS], n) for n in range(MESSAGES)]
    outbox.subscribe(Party.WALLET, [key.topic for key in keys])

    started = time.monotonic()
    for start in range(0, MESSAGES, CHUNK):
        outbox.publish_all(Party.CAST, publications[start : start + CHUNK])
    _add(report, "rows into the outbox", time.monotonic() - started)

    gateway = ("manage.py", "gateway")
    # The gateway has no port; wait for the relay's instead.
    with running(*gateway, port=relay_port) as the_gateway:
        sent = OutboxMessage.objects.filter(state="sent")
        _wait(lambda: sent.exists())
        started, cpu = time.monotonic(), the_gateway.cpu()
        before = sent.count()
        _wait(lambda: not OutboxMessage.objects.filter(state="due").exists())
        spent = time.monotonic() - started
        _wait(lambda: InboxMessage.objects.count() == MESSAGES)
        both = time.monotonic() - started
        used = the_gateway.cpu() - cpu
        _add(report, "outbox to relay, acknowledged, marked", spent, MESSAGES - before)
        _add(report, "outbox to relay to inbox", both, MESSAGES - before)
        report.add("gateway CPU, out and in", micro(used / MESSAGES) + " per message")
    _handle(report)


def _handle(report: Report) -> None:
    from messaging import services as relay_services
    from messaging.dispatch import Inbound, handles
    from messaging.models import InboxMessage, Party

    @handles(Party.WALLET, TAG)
    def take(messages: list[Inbound]) -> None:
        """A handler without work, to measure everything around it."""

    started, cpu = time.monotonic(), time.process_time()
    while relay_services.handle_due(60):
        pass
    spent, used = time.monotonic() - started, time.process_time() - cpu
    handled = InboxMessage.objects.filter(state="handled").count()
    if handled != MESSAGES:
        raise SystemExit(f"{handled} of {MESSAGES} messages were handled")
    _add(report, "inbox claimed, opened, handled, marked", spent)
    report.add("worker CPU", micro(used / MESSAGES) + " per message")


def _publication(key, number: int):
    from common import entropy
    from walletconnect.crypto.envelope import seal
    from walletconnect.relay.messages import Publication
    from walletconnect.relay.rpc import JsonRpcRequest

    request = JsonRpcRequest(number, "bench", {"text": PLAINTEXT})
    sealed = seal(request.to_json(), key, iv=entropy.iv())
    return Publication(key.topic, sealed, TAG, 3600)


def _add(report: Report, what: str, spent: float, count: int = MESSAGES) -> None:
    report.add(what, per_second(count / spent), ratio=f"{spent:.2f} s")


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise SystemExit("the pipeline stands still")
        time.sleep(0.01)
