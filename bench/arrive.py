"""Notifications that arrive at our devices: opened, verified, stored, with their events.

Accounts that signed in and their subscriptions are real; the messages lie in the inbox, as
the gateway leaves them. Compared with opening and verifying the same messages in memory.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.environment import services
from bench.price import draft, project, subscribe
from bench.report import median, micro, per_second

if TYPE_CHECKING:
    from bench.environment import Services
    from bench.report import Report

ACCOUNTS = 100
MESSAGES = 3_000
ROUNDS = 3


def run(report: Report, _: float) -> None:
    with services() as around:
        import django

        django.setup()
        from keychain.services import ensure_canary

        ensure_canary()
        _measure(report, around)


def _measure(report: Report, around: Services) -> None:
    from accounts.models import AccountEvent
    from keychain.services import Holder, signing_key, sym_keys
    from messaging import services as messaging
    from messaging.models import Party
    from subscriptions.models import NotifyMessageRecord, Subscription

    dapp = project()
    for number in range(ACCOUNTS):
        subscribe(dapp, number)
    rows = list(Subscription.objects.select_related("account"))
    keys = sym_keys(Holder.WALLET, [row.topic for row in rows])
    signer = signing_key(Holder.CAST, dapp.authentication_did)
    bare, ours, database = [], [], []
    for number in range(ROUNDS):
        messages = _messages(dapp, signer, rows, keys=keys, first=number * MESSAGES + 1)
        cpu = time.process_time()
        for row, message in messages:
            _verify(row, message, keys, dapp)
        bare.append((time.process_time() - cpu) / MESSAGES)
        messaging.receive(
            Party.WALLET,
            [
                messaging.Received(row.topic, text, 4002, int(time.time() * 1000))
                for row, text in messages
            ],
        )
        events = AccountEvent.objects.count()
        cpu, postgres = time.process_time(), around.postgres_cpu()
        while messaging.handle_due(60):
            pass
        ours.append((time.process_time() - cpu) / MESSAGES)
        database.append((around.postgres_cpu() - postgres) / MESSAGES)
        assert AccountEvent.objects.count() == events + MESSAGES
    assert NotifyMessageRecord.objects.count() == ROUNDS * MESSAGES
    least, own, stored = median(bare), median(ours), median(database)
    report.add("one message opened and verified in memory", micro(least))
    report.add(
        f"{MESSAGES:,} notifications opened, verified, stored, with events and receipts",
        per_second(1 / own),
        ratio=f"{own / least:.1f}x verified in memory",
        cpu=f"worker {micro(own)}, PostgreSQL {micro(stored)}",
    )
    report.compare(
        "a notification in: CPU of the worker, with its receipt",
        own / least,
        "opening and verifying it",
        goal="<= 2",
    )
    report.compare(
        "a notification in: CPU of worker and PostgreSQL, with its receipt",
        (own + stored) / least,
        "opening and verifying it",
        goal="<= 2",
    )


def _messages(dapp, signer, rows, *, keys, first: int):
    from common import clock, entropy
    from walletconnect.identity.did import AccountId
    from walletconnect.notify.message import MessageBatch, Recipient

    batch = MessageBatch.create(
        draft().check_outgoing(),
        signer,
        app=dapp.url,
        now=clock.now_s(),
        sent_at=clock.now_ms(),
    )
    found = []
    for number in range(MESSAGES):
        row = rows[number % len(rows)]
        recipient = Recipient(
            account=AccountId.parse(row.account.address),
            sym_key=keys[row.topic],
            request_id=first + number,
            subscription_hash="0" * 64,
            notification_id=f"n{first + number}",
        )
        found.append((row, batch.publication(recipient, iv=entropy.iv()).message))
    return found


def _verify(row, message: str, keys, dapp) -> None:
    from common import clock
    from walletconnect.crypto.envelope import open_envelope
    from walletconnect.identity.did import AccountId
    from walletconnect.notify.message import receive_message
    from walletconnect.relay import rpc

    receive_message(
        rpc.parse(open_envelope(message, keys[row.topic])),
        AccountId.parse(row.account.address),
        app=dapp.url,
        dapp_did=dapp.authentication_did,
        now=clock.now_s(),
    )
