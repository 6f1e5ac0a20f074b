"""Price: bytes of tables and indexes for a notification that was delivered.

Everything is real: accounts that signed in, the Cast Server, gateway, relay and the inbox.
A notification counts once its receipt has come back. Bytes are those of the live rows with
freshly built indexes (``VACUUM FULL``), less those of before, by the side that stores them.
"""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bench.environment import cpu_of, free_port, running, services
from bench.notify import draft, project
from bench.report import micro

if TYPE_CHECKING:
    from bench.environment import Services
    from bench.report import Report
    from castserver.models import Project

ACCOUNTS: Final = 200
NOTIFICATIONS: Final = 20
ORIGIN: Final = "http://localhost:8000"
PATIENCE_S: Final = 300

# Which side stores a table: prefix of its name, except where a party is in the row.
SIDES: Final = {
    "castserver": "sending side",
    "relay": "relay",
    "subscriptions": "inbox",
    "accounts": "inbox",
    "alerts": "inbox",
}
SHARED: Final = ("messaging_inboxmessage", "messaging_outboxmessage")
# Per delivered notification, after it was received.
GOALS: Final = {"sending side": 2_500, "inbox": 3_000}

_SIZES = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
"""
_SHARE = """
SELECT avg((party = 'cast')::int) FROM {table}
"""


def run(report: Report, seconds: float) -> None:
    relay_port = free_port()
    with services(
        NOTIFYWEB_RELAY_PORT=str(relay_port),
        NOTIFYWEB_LIMITS="notify_subscriber=1000000+1000000/s,keep_sent_messages_h=1",
    ) as environment:
        import django

        django.setup()
        from keychain.services import ensure_canary

        ensure_canary()
        relay = ("manage.py", "relay", "--port", str(relay_port))
        # The gateway has no port; wait for the relay's instead.
        with (
            running(*relay, port=relay_port) as the_relay,
            running("manage.py", "gateway", port=relay_port) as the_gateway,
        ):
            _Price(report, environment).measure((the_relay.cpu, the_gateway.cpu))


class _Price:
    def __init__(self, report: Report, environment: Services) -> None:
        self._report = report
        self._environment = environment
        self._project = project()
        for number in range(ACCOUNTS):
            subscribe(self._project, number)

    def measure(self, programs: tuple) -> None:
        from castserver.models import Delivery

        self._send(1)  # first messages confirm topics and create rows that stay
        before = _sizes()
        cpu = [program() for program in programs]
        own, postgres = _own_cpu(), self._environment.postgres_cpu()
        count = ACCOUNTS * NOTIFICATIONS
        self._send(NOTIFICATIONS)
        spent = [program() - used for program, used in zip(programs, cpu, strict=True)]
        own, postgres = _own_cpu() - own, self._environment.postgres_cpu() - postgres
        unswept = _growth(before, _sizes(compact=False), count)
        stored = _growth(before, _sizes(), count)
        self._prune()
        kept = _growth(before, _sizes(), count)
        assert Delivery.objects.exclude(receipt_at=None).count() == ACCOUNTS + count

        self._add("received", stored, goals=True)
        self._add("a day later", kept, goals=False)
        self._report.add(
            "received, before any vacuum", f"{sum(unswept.values()):,.0f} bytes"
        )
        for table, size in sorted(stored.items(), key=lambda each: -each[1]):
            if size >= 20:
                self._report.add(
                    f"  {table}", f"{size:,.0f}", ratio=f"{kept[table]:,.0f}"
                )
        self._report.add(
            "CPU for each, out, relayed, in, and the receipt back",
            micro((sum(spent) + own + postgres) / count),
            cpu=f"workers {micro(own / count)}, relay {micro(spent[0] / count)}, "
            f"gateway {micro(spent[1] / count)}, PostgreSQL {micro(postgres / count)}",
        )
        a_million = sum(kept.values()) * 1e6 / 2**30
        self._report.note(
            f"GB for a million notifications, kept: {a_million:.2f}. Second column of a"
            " table: a day later."
        )

    def _send(self, rounds: int) -> None:
        from castserver.models import Delivery
        from castserver.services.notifications.broadcast import (
            notify_everyone,
            send_due_broadcasts,
        )
        from castserver.services.notifications.delivery import send_due_chunk
        from messaging import services as messaging

        for _ in range(rounds):
            notify_everyone(self._project, draft())
        until = time.monotonic() + PATIENCE_S
        while True:
            while send_due_chunk() or send_due_broadcasts():
                pass
            messaging.handle_due(1.0)
            waiting = Delivery.objects.filter(receipt_at=None)
            if not waiting.exists() and _is_sent():
                return
            if time.monotonic() > until:
                raise SystemExit(f"{waiting.count()} notifications have no receipt")

    def _prune(self) -> None:
        from common import clock
        from messaging import services as messaging

        with clock.frozen(clock.now() + timedelta(days=1)):
            messaging.prune()

    def _add(self, when: str, sizes: dict[str, float], *, goals: bool) -> None:
        by_side: dict[str, float] = {}
        shares = _shares()
        for table, size in sizes.items():
            if table in SHARED:
                cast = shares[table]
                by_side["sending side"] = by_side.get("sending side", 0) + size * cast
                by_side["inbox"] = by_side.get("inbox", 0) + size * (1 - cast)
            else:
                side = SIDES.get(table.split("_")[0], "else")
                by_side[side] = by_side.get(side, 0) + size
        for side, size in by_side.items():
            if size < 1:
                continue
            goal = GOALS.get(side) if goals else None
            ratio = f"{size / goal:.2f} of the goal of {goal:,}" if goal else ""
            self._report.add(f"{when}: {side}", f"{size:,.0f} bytes", ratio=ratio)
        self._report.add(f"{when}: in all", f"{sum(by_side.values()):,.0f} bytes")


def _sizes(*, compact: bool = True) -> dict[str, int]:
    from django.db import connection

    with connection.cursor() as cursor:
        if compact:
            cursor.execute("VACUUM FULL")
        cursor.execute(_SIZES)
        return dict(cursor.fetchall())


def _growth(
    before: dict[str, int], after: dict[str, int], count: int
) -> dict[str, float]:
    return {
        table: (size - before.get(table, 0)) / count
        for table, size in after.items()
        if not table.startswith(("keychain", "django", "identity"))
    }


def _shares() -> dict[str, float]:
    from django.db import connection

    found = {}
    with connection.cursor() as cursor:
        for table in SHARED:
            cursor.execute(_SHARE.format(table=table))
            found[table] = float(cursor.fetchone()[0] or 0)
    return found


def _is_sent() -> bool:
    from messaging.models import OutboxMessage

    return not OutboxMessage.objects.filter(state="due").exists()


def _own_cpu() -> float:
    import psutil

    return cpu_of(psutil.Process())


def subscribe(project: Project, number: int) -> None:
    """An account that signed in, and its subscription on both sides."""
    from accounts.models import Account
    from accounts.sessions import SessionStore
    from castserver.models import Subscriber
    from common import clock, entropy
    from identity import services as identity
    from keychain.services import Holder, put_sym_keys
    from messaging import outbox
    from messaging.models import Party
    from subscriptions.models import Subscription
    from walletconnect.crypto.ethereum import address_of, sign_eip191
    from walletconnect.crypto.keys import SymKey

    private_key = secrets.token_bytes(32)
    session = SessionStore()
    session.create()
    address = f"eip155:1:{address_of(private_key)}"
    request = identity.begin_sign_in(
        session.session_key, account=address, origin=ORIGIN
    )
    identity.complete_sign_in(
        session.session_key,
        nonce=request.nonce,
        signature=sign_eip191(request.message, private_key),
        user_agent="",
    )
    account = Account.objects.at(address).get()
    key = SymKey(entropy.key_bytes())
    put_sym_keys(Holder.CAST, [key])
    put_sym_keys(Holder.WALLET, [key], account_id=account.pk)
    now = clock.now()
    Subscriber.objects.create(
        project=project,
        account=address,
        account_key=account.key,
        topic=key.topic,
        scope=["alerts"],
        app=project.url,
        expires_at=now + timedelta(days=30),
        subscription_hash="0" * 64,
        last_iat=0,
        last_word_at=now,
        created_at=now,
    )
    Subscription.objects.create(
        account=account,
        topic=key.topic,
        metadata={"name": "Bench", "description": "", "url": project.url, "icons": []},
        scope={"alerts": {"description": "", "enabled": True}},
        expiry=int(now.timestamp()) + 30 * 86_400,
        dapp_url=project.url,
        dapp_authentication_did=project.authentication_did,
        added_by="subscribe",
        created_at=now,
    )
    for party in (Party.WALLET, Party.CAST):
        outbox.subscribe(party, [key.topic])
