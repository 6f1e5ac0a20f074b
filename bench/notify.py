"""Notify: one notification to many accounts, until every message is stored to be sent.

All subscribers in one query, the constant part of the claims once, rows by COPY, chunks of
a thousand. Compared with the cryptography alone, which is the lower bound, and with one
notification per account.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bench.environment import free_port, running, services
from bench.report import micro, milli, per_second

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing import SimpleQueue

    from django.db.models import QuerySet

    from bench.environment import Measured, Services
    from bench.report import Report
    from castserver.models import Project
    from walletconnect.notify.message import Recipient
    from walletconnect.notify.values import NotifyMessage

ACCOUNTS = 10_000
ONE_CALL = 500
NAIVE = 50
WORKERS = 2
ROUNDS = 3
PEER_MESSAGE_S = 238e-6
GOAL_S = 1.0


def run(report: Report, seconds: float) -> None:
    # Without limits: the same accounts are notified again and again.
    relay_port = free_port()
    with services(
        NOTIFYWEB_LIMITS="notify_subscriber=1000000+1000000/s,"
        "relay_queue_messages=100000000,relay_queue_bytes=100000000000,"
        "relay_frames=100000000+100000000/s",
        NOTIFYWEB_RELAY_PORT=str(relay_port),
    ) as around:
        import django

        django.setup()
        from keychain.services import ensure_canary

        ensure_canary()
        bench = _Bench(report, around)
        bench.run(seconds)
        # The rows of the measurements before.
        _empty_outbox()
        relay = ("manage.py", "relay", "--port", str(relay_port))
        with (
            running(*relay, port=relay_port) as the_relay,
            # It has no port; the relay's answers already.
            running("manage.py", "gateway", port=relay_port) as the_gateway,
        ):
            bench.whole(the_relay, the_gateway)
        report.note("CPU: this process and PostgreSQL's, per account")


@dataclass(frozen=True, slots=True)
class _Cost:
    """Wall-clock seconds, CPU seconds of this process and of PostgreSQL."""

    took: float
    own: float
    postgres: float

    def cpu_each(self, count: int) -> str:
        return f"CPU {micro(self.own / count)} + {micro(self.postgres / count)}"


class _Bench:
    def __init__(self, report: Report, around: Services) -> None:
        self.report = report
        self.around = around
        self.project = project()
        self.accounts = _subscribe(self.project, ACCOUNTS)
        self.recipients = _recipients(self.accounts)

    def run(self, seconds: float) -> None:
        rounds = ROUNDS if seconds >= 10 else 1
        bare = self.bare = self._measure(self._bare, rounds)
        each = bare.took / ACCOUNTS
        self.report.add(
            "one message: claims, signature, envelope",
            micro(each),
            ratio=f"{PEER_MESSAGE_S / each:.1f}x the npm client's speed",
            cpu=bare.cpu_each(ACCOUNTS),
        )
        call = self._measure(self._one_call, rounds)
        self.report.add(
            f"POST notify with {ONE_CALL} accounts, all rows",
            f"{milli(call.took)}, {micro(call.took / ONE_CALL)} each",
            ratio=f"{call.took / ONE_CALL / each:.1f}x the message alone",
            cpu=call.cpu_each(ONE_CALL),
        )
        large = self._measure(self._everyone, rounds)
        self.report.add(
            f"{ACCOUNTS:,} accounts, one worker, all rows",
            f"{milli(large.took)}, {per_second(ACCOUNTS / large.took)}",
            ratio=f"{large.took / GOAL_S:.2f} of the goal of {GOAL_S:.0f} s, CPU "
            f"{(large.own + large.postgres) / bare.own:.1f}x the messages alone",
            cpu=large.cpu_each(ACCOUNTS),
        )
        self.report.compare(
            f"notify {ACCOUNTS:,}: CPU of worker and PostgreSQL",
            (large.own + large.postgres) / bare.own,
            "claims, signature, envelope",
            goal="<= 3",
        )
        shared = self._measure(self._everyone_shared, rounds)
        self.report.add(
            f"{ACCOUNTS:,} accounts, {WORKERS} workers, all rows",
            f"{milli(shared.took)}, {per_second(ACCOUNTS / shared.took)}",
            ratio=f"{shared.took / GOAL_S:.2f} of the goal of {GOAL_S:.0f} s, "
            f"{large.took / shared.took:.2f}x one worker",
            cpu=f"the busiest process {micro(self.busiest / ACCOUNTS)}",
        )
        # What two workers would gain on cores of their own: the machine may have fewer.
        self.report.compare(
            f"notify {ACCOUNTS:,}: two workers, by the CPU of the busiest process",
            large.own / self.busiest,
            "one worker",
            goal=">= 1.7",
        )
        naive = self._measure(self._naive, 1)
        self.report.add(
            "account by account",
            f"{micro(naive.took / NAIVE)} each",
            ratio=f"{naive.took / NAIVE / (large.took / ACCOUNTS):.0f}x ours",
            cpu=naive.cpu_each(NAIVE),
        )

    def whole(self, relay: Measured, gateway: Measured) -> None:
        """Until the relay has acknowledged every message, with all processes counted."""
        from messaging.models import OutboxMessage

        due = OutboxMessage.objects.filter(state="due")
        # The first round warms the processes up.
        for is_counted in (False, True):
            cpu = relay.cpu(), gateway.cpu()
            spent = self._measure(lambda: self._acknowledged(due), 1)
            parts = (
                spent.own,
                spent.postgres,
                gateway.cpu() - cpu[1],
                relay.cpu() - cpu[0],
            )
            if not is_counted:
                continue
            each = [part / ACCOUNTS for part in parts]
            ratio = sum(parts) / self.bare.own
            self.report.add(
                f"{ACCOUNTS:,} accounts, until the relay has acknowledged",
                f"{milli(spent.took)}, {per_second(ACCOUNTS / spent.took)}",
                ratio=f"CPU {ratio:.1f}x the messages alone",
                cpu="CPU {} worker + {} PostgreSQL + {} gateway + {} relay".format(
                    *map(micro, each)
                ),
            )
            self.report.compare(
                f"notify {ACCOUNTS:,}: CPU until acknowledged, all processes",
                ratio,
                "claims, signature, envelope",
                goal="<= 3",
            )

    def _acknowledged(self, due: QuerySet[Any]) -> float:
        took = self._everyone()
        began = time.perf_counter()
        while due.exists():
            time.sleep(0.05)
        return took + time.perf_counter() - began

    def _measure(self, work: Callable[[], float], rounds: int) -> _Cost:
        costs = []
        for _ in range(rounds):
            own, postgres = time.process_time(), self.around.postgres_cpu()
            took = work()
            costs.append(
                _Cost(
                    took,
                    time.process_time() - own,
                    self.around.postgres_cpu() - postgres,
                )
            )
        return sorted(costs, key=lambda cost: cost.took)[len(costs) // 2]

    def _bare(self) -> float:
        """The cryptography of all messages, without storing them."""
        from common import clock, entropy
        from keychain.services import Holder, signing_key
        from walletconnect.notify.message import MessageBatch

        key = signing_key(Holder.CAST, self.project.authentication_did)
        began = time.perf_counter()
        batch = MessageBatch.create(
            draft().check_outgoing(),
            key,
            app=self.project.url,
            now=clock.now_s(),
            sent_at=clock.now_ms(),
        )
        for recipient in self.recipients:
            batch.publication(recipient, iv=entropy.iv())
        return time.perf_counter() - began

    def _one_call(self) -> float:
        from castserver.services.notifications.notify import notify

        began = time.perf_counter()
        outcome = notify(self.project, draft(), self.accounts[:ONE_CALL])
        took = time.perf_counter() - began
        assert len(outcome.sent) == ONE_CALL
        return took

    def _everyone(self) -> float:
        from castserver.models import Broadcast
        from castserver.services.notifications.broadcast import notify_everyone

        began = time.perf_counter()
        outcome = notify_everyone(self.project, draft())
        _send_chunks()
        took = time.perf_counter() - began
        broadcast = Broadcast.objects.get(pk=outcome.notification_id)
        assert broadcast.sent == ACCOUNTS
        return took

    def _everyone_shared(self) -> float:
        """Two processes that claim chunks, as the workers of ``make run`` do."""
        from django.db import connections

        from castserver.services.notifications.broadcast import notify_everyone

        began, cpu = time.perf_counter(), time.process_time()
        notify_everyone(self.project, draft())
        # Before the workers start: only this process has worked so far.
        alone = time.process_time() - cpu
        # A forked child must not use the connection of its parent.
        connections.close_all()
        copies = multiprocessing.get_context("fork")
        spent = copies.SimpleQueue()
        workers = [
            copies.Process(target=_send_chunks_counted, args=(spent,))
            for _ in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        self.busiest = alone + max(spent.get() for _ in workers)
        return time.perf_counter() - began

    def _naive(self) -> float:
        from castserver.services.notifications.notify import notify

        began = time.perf_counter()
        for account in self.accounts[:NAIVE]:
            notify(self.project, draft(), [account])
        return time.perf_counter() - began


def _empty_outbox() -> None:
    from messaging.models import OutboxMessage

    OutboxMessage.objects.all().delete()


def _send_chunks_counted(spent: SimpleQueue[float]) -> None:
    spent.put(_send_chunks())


def _send_chunks() -> float:
    """Work until everything is sent; the CPU seconds of it, without those of waiting."""
    from castserver.models import Broadcast, DueDeliveries
    from castserver.services.notifications.broadcast import send_due_broadcasts
    from castserver.services.notifications.delivery import send_due_chunk

    worked = 0.0
    while True:
        cpu = time.process_time()
        if send_due_chunk() or send_due_broadcasts():
            worked += time.process_time() - cpu
            continue
        # Another process may be in a chunk, or the pause between two not over.
        unfinished = Broadcast.objects.filter(finished_at=None)
        if not (unfinished.exists() or DueDeliveries.objects.exists()):
            return worked
        time.sleep(0.02)


def _recipients(accounts: list[str]) -> list[Recipient]:
    from common import entropy
    from walletconnect.crypto.keys import SymKey
    from walletconnect.identity.did import AccountId
    from walletconnect.notify.message import Recipient

    return [
        Recipient(
            account=AccountId.parse(account),
            sym_key=SymKey(entropy.key_bytes()),
            request_id=number + 1,
            subscription_hash="0" * 64,
        )
        for number, account in enumerate(accounts)
    ]


def draft() -> NotifyMessage:
    from walletconnect.notify.values import NotifyMessage

    return NotifyMessage(
        type="alerts",
        title="A proposal is open",
        body="x" * 200,
        url="https://dapp.example.org/proposals/17",
    )


def project() -> Project:
    from castserver.services.projects.projects import TypeDraft, create_project

    project, _ = create_project(
        "Bench", url="https://dapp.example.org", types=[TypeDraft("alerts")]
    )
    return project


def _subscribe(project: Project, count: int) -> list[str]:
    """Insert the subscribers of ``count`` subscribes."""
    from castserver.models import Subscriber
    from common import clock, entropy
    from keychain.services import Holder, put_sym_keys
    from walletconnect.crypto.keys import SymKey

    now = clock.now()
    keys = [SymKey(entropy.key_bytes()) for _ in range(count)]
    put_sym_keys(Holder.CAST, keys)
    Subscriber.objects.bulk_create(
        [
            Subscriber(
                project=project,
                account=f"eip155:1:0x{number:040x}",
                account_key=f"eip155:0x{number:040x}",
                topic=key.topic,
                scope=["alerts"],
                app=project.url,
                expires_at=now + timedelta(days=30),
                subscription_hash="0" * 64,
                last_iat=0,
                last_word_at=now,
                identity_did="",
                created_at=now,
            )
            for number, key in enumerate(keys)
        ]
    )
    return [f"eip155:1:0x{number:040x}" for number in range(count)]
