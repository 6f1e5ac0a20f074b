"""Sync: updates of a store's topic, opened, checked, applied, sealed, logged, committed.

Compared, in the same rounds, with the same envelopes opened and folded into a dict, which
is all that a client in memory has to do, and with one read and one write
per update. The published @walletconnect/sync-client takes 142.8 s for 10,000.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from bench.environment import services
from bench.report import median, micro, milli

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.environment import Services
    from bench.report import Report
    from syncstore.models import Store
    from walletconnect.crypto.keys import SymKey

UPDATES = 10_000
MANY = 100_000
FEW_KEYS = 500
BATCH = 500
NAIVE = 300
ROUNDS = 3
# A notify subscription's JSON text is about as long.
VALUE = json.dumps({"filler": "x" * 480})
PEER_S = 142.8


def run(report: Report, seconds: float) -> None:
    with services() as surroundings:
        import django

        django.setup()
        from keychain.services import ensure_canary

        ensure_canary()
        _Bench(report, surroundings).run(seconds)


class _Bench:
    def __init__(self, report: Report, surroundings: Services) -> None:
        self.report = report
        self.surroundings = surroundings
        self.number = 0
        self.cpu = 0.0

    def run(self, seconds: float) -> None:
        distinct = self._measure(f"{UPDATES:,} updates, as many keys", UPDATES, UPDATES)
        self._measure(f"{UPDATES:,} updates of {FEW_KEYS} keys", UPDATES, FEW_KEYS)
        self.report.note(
            f"sync-client 0.3.8 takes {PEER_S} s for {UPDATES:,}: "
            f"{PEER_S / (distinct * UPDATES):,.0f} times as long"
        )
        naive = median([self._naive() for _ in range(ROUNDS)])
        self.report.add(
            "one read and one write per update",
            micro(naive),
            ratio=f"{naive / distinct:.0f}x ours",
        )
        if seconds >= 10:
            large = self._apply(MANY, MANY)
            self.report.add(
                f"{MANY:,} updates, as many keys",
                f"{micro(large)} each",
                ratio=f"{large / distinct:.1f}x of {UPDATES:,}",
            )
            self.report.compare(
                f"sync: each of {MANY:,} updates",
                large / distinct,
                f"each of {UPDATES:,}",
                goal="<= 1.5",
            )

    def _measure(self, what: str, count: int, keys: int) -> float:
        ours, bare = [], []
        database = self.surroundings.postgres_cpu()
        self.cpu = 0.0
        for _ in range(ROUNDS):
            ours.append(self._apply(count, keys))
            bare.append(self._bare(count, keys))
        database = self.surroundings.postgres_cpu() - database
        each, least = median(ours), median(bare)
        self.report.add(
            what,
            f"{milli(each * count)}, {micro(each)} each",
            ratio=f"{each / least:.1f}x opened in memory ({micro(least)})",
            cpu=f"cpu {micro(self.cpu / ROUNDS / count)}, "
            f"database {micro(database / ROUNDS / count)}",
        )
        self.report.compare(
            f"sync: {what}: CPU, logged and committed, with PostgreSQL",
            (self.cpu + database) / ROUNDS / count / least,
            "opening and folding them",
            goal="<= 3",
        )
        return each

    def _store(self) -> tuple[Store, SymKey]:
        from accounts.models import Account, Device, User
        from common import clock, entropy
        from keychain.services import Holder, put_sym_keys
        from syncstore.models import Store
        from walletconnect.crypto.keys import SymKey

        self.number += 1
        now = clock.now()
        user = User.objects.create_user(username=f"bench {self.number}")
        account = Account.objects.create(
            user=user, address=f"eip155:1:0x{self.number:040x}", created_at=now
        )
        for name in ("W1", "Wx"):
            Device.objects.create(
                user=user, name=name, created_at=now, proved_at=now, last_seen_at=now
            )
        key = SymKey(entropy.key_bytes())
        put_sym_keys(Holder.WALLET, [key], account_id=account.pk)
        store = Store.objects.create(
            account=account, name="bench", topic=key.topic, created_at=now
        )
        return store, key

    def _envelopes(self, key: SymKey, count: int, keys: int) -> list[str]:
        from common import entropy
        from walletconnect.sync.store import StoreSet, publish_update

        return [
            publish_update(
                StoreSet(f"{number % keys:064x}", VALUE, number + 1),
                key,
                iv=entropy.iv(),
            ).message
            for number in range(count)
        ]

    def _apply(self, count: int, keys: int) -> float:
        """Seconds per update, in committed batches of the size that the dispatch uses."""
        from django.db import transaction

        from syncstore.models import StoreUpdate
        from syncstore.services.apply import apply_updates
        from syncstore.services.receive import arrival_of
        from walletconnect.crypto.envelope import open_envelope
        from walletconnect.relay import rpc

        store, key = self._store()
        envelopes = self._envelopes(key, count, keys)

        def work() -> None:
            for start in range(0, count, BATCH):
                arrivals = [
                    arrival_of(rpc.parse(open_envelope(text, key)), published_at=1)
                    for text in envelopes[start : start + BATCH]
                ]
                with transaction.atomic():
                    apply_updates({store.pk: arrivals}, source=StoreUpdate.Source.RELAY)

        cpu = time.process_time()
        each = _timed(work) / count
        self.cpu += time.process_time() - cpu
        return each

    def _bare(self, count: int, keys: int) -> float:
        from walletconnect.crypto.envelope import open_envelope
        from walletconnect.relay import rpc
        from walletconnect.sync.store import Outcome, outcome_of, parse_update

        _, key = self._store()
        envelopes = self._envelopes(key, count, keys)

        def work() -> None:
            last_ids: dict[str, int] = {}
            for text in envelopes:
                update = parse_update(rpc.parse(open_envelope(text, key)))
                if outcome_of(update.id, last_ids.get(update.key)) is Outcome.APPLIED:
                    last_ids[update.key] = update.id

        return _timed(work) / count

    def _naive(self) -> float:
        """One row read and saved per update through the ORM, for comparison."""
        from django.db import transaction

        from common import clock
        from keychain.services import seal
        from syncstore.models import StoreEntry, value_context
        from walletconnect.crypto.envelope import open_envelope
        from walletconnect.relay import rpc
        from walletconnect.sync.store import parse_update

        store, key = self._store()
        envelopes = self._envelopes(key, NAIVE, NAIVE)

        def work() -> None:
            for text in envelopes:
                update = parse_update(rpc.parse(open_envelope(text, key)))
                with transaction.atomic():
                    entry = (
                        StoreEntry.objects.select_for_update()
                        .filter(store=store, key=update.key)
                        .first()
                    ) or StoreEntry(store=store, key=update.key, last_id=0)
                    if update.id > entry.last_id:
                        entry.last_id = update.id
                        entry.sealed_value = seal(
                            value_context(store, update.key), VALUE.encode()
                        )
                        entry.updated_at = clock.now()
                        entry.save()

        return _timed(work) / NAIVE


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
