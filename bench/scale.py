"""Scale: what does not get slower, or does, when ten times as much is stored.

Loads subscribers and messages with SQL into a PostgreSQL of its own, a tenth first, then
the rest, and measures the same pages, sweeps, pruning and sending at both sizes. The ratio
is CPU time, PostgreSQL's included. One person has a tenth of all notifications.

``python -m bench scale --subscribers 100000 --messages 1000000``
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psutil

from bench.environment import manage, services
from bench.report import micro, milli

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.environment import Services
    from bench.report import Report

SUBSCRIBERS: Final = 10_000
MESSAGES: Final = 100_000
FACTOR: Final = 10
ROUNDS: Final = 4
# A difference below it is noise, whatever the ratio.
FLOOR_S: Final = 0.015
MAX_SLOPE: Final = 2.0
# Explicit primary keys above those of rows that the services create.
BASE: Final = 10_000_000
KEYS_AT_ONCE: Final = 10_000
# Subscriptions of the one person, who is the first of the subscribers.
OF_ONE: Final = 20
SEND_S: Final = 60

# ``%(first)s`` to ``%(last)s`` are the new subscribers.
_SUBSCRIBERS: Final = (
    """INSERT INTO accounts_user (id, password, is_superuser, username, first_name,
        last_name, email, is_staff, is_active, date_joined, event_sequence,
        event_generation)
    SELECT {base} + n, '!', false, 'bench' || n, '', '', '', false, true, now(),
        {base} * 10, gen_random_uuid()
    FROM generate_series(%(first)s::int, %(last)s::int) n""",
    """INSERT INTO accounts_account (id, user_id, address, key, label, is_demo, created_at)
    SELECT {base} + n, {base} + n, 'eip155:1:0x' || lpad(to_hex(n), 40, '0'),
        'eip155:0x' || lpad(to_hex(n), 40, '0'), '', false, now()
    FROM generate_series(%(first)s::int, %(last)s::int) n""",
    """INSERT INTO castserver_subscriber (id, project_id, account, account_key, topic,
        scope, app, expires_at, subscription_hash, last_iat, last_word_at, identity_did,
        is_later_generation, created_at, delete_reason, keys_forgotten)
    SELECT {base} + n, %(project)s, 'eip155:1:0x' || lpad(to_hex(n), 40, '0'),
        'eip155:0x' || lpad(to_hex(n), 40, '0'), topic, '["alerts"]',
        'https://dapp.example.org', now() + interval '30 days', repeat('0', 64), 0,
        now(), '', false, now(), '', false
    FROM bench_topic WHERE n BETWEEN %(first)s AND %(last)s""",
    """INSERT INTO subscriptions_subscription (id, account_id, topic, relay_protocol,
        metadata, scope, expiry, dapp_url, dapp_authentication_did, added_by,
        update_reason, last_iat, created_at, delete_reason)
    SELECT {base} + n, {base} + CASE WHEN n < {of_one} THEN 0 ELSE n END, topic, 'irn',
        '{{"name": "Bench", "description": "", "url": "https://dapp.example.org",
           "icons": []}}',
        '{{"alerts": {{"description": "", "enabled": true}}}}',
        extract(epoch FROM now())::bigint + 30 * 86400, 'https://dapp.example.org',
        'did:key:z', 'subscribe', '', 0, now(), ''
    FROM bench_topic WHERE n BETWEEN %(first)s AND %(last)s""",
    """INSERT INTO messaging_topicsubscription
        (party, topic, state, steps, changed_at, confirmed_at)
    SELECT party, topic, 'wanted', '[]', now(), now()
    FROM bench_topic, (VALUES ('cast'), ('wallet')) AS parties (party)
    WHERE n BETWEEN %(first)s AND %(last)s""",
    """INSERT INTO relay_mailboxcursor (topic, client, through)
    SELECT topic, 'did:key:z', {base} * 1000::bigint
    FROM bench_topic WHERE n BETWEEN %(first)s AND %(last)s""",
    """INSERT INTO runlog_steprecord (run, step, actor, actor_key, at, wire)
    SELECT topic, step, 'W1', '', now(), '{{}}'
    FROM bench_topic, generate_series(1, 5) step
    WHERE n BETWEEN %(first)s AND %(last)s""",
)
# ``%(start)s`` to ``%(end)s`` are the new messages, spread over the last 25 days and over
# all subscribers up to ``%(last)s``; each tenth is for the one person.
_MESSAGES: Final = (
    """CREATE TEMPORARY TABLE bench_message ON COMMIT DROP AS
    SELECT k, CASE WHEN k %% 10 = 0 THEN k / 10 %% {of_one}
                   ELSE k %% (%(last)s::int + 1) END AS n,
        now() - interval '25 days'
            + (k - %(start)s) * (interval '25 days' / (%(end)s - %(start)s + 1)) AS at
    FROM generate_series(%(start)s::int, %(end)s::int) k""",
    """INSERT INTO subscriptions_notifymessagerecord (subscription_id, rpc_id,
        notification_id, type, title, body, icon, url, message_auth, published_at,
        received_at, read_at, archived_at)
    SELECT {base} + n, k + 1, '', 'alerts', 'A proposal is open', repeat('x', 200), '',
        'https://dapp.example.org/proposals/17', 'ey' || repeat(md5(k::text), 28), at, at,
        CASE WHEN k %% 4 > 0 THEN at END, CASE WHEN k %% 8 = 7 THEN at END
    FROM bench_message""",
    """INSERT INTO accounts_accountevent
        (user_id, sequence, account_id, kind, subject, created_at)
    SELECT {base} + n, k, {base} + n, 'notify.message',
        'subscriptions.notifymessagerecord:' || k, at FROM bench_message""",
    """INSERT INTO castserver_notification (id, project_id, idempotency_key, type, title,
        body, icon, url, created_at)
    SELECT md5('notification' || call)::uuid, %(project)s, '', 'alerts', 'A proposal',
        repeat('x', 200), '', '', at
    FROM (SELECT k / 1000 AS call, min(at) AS at FROM bench_message GROUP BY 1) calls""",
    """INSERT INTO castserver_delivery (id, notification_id, subscriber_id, rpc_id,
        created_at, sent_at, receipt_at, read_at, open_count)
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
            || substr(md5(k::text), 1, 3) || '8' || substr(md5(k::text), 4, 15))::uuid,
        md5('notification' || k / 1000)::uuid, {base} + n, k, at, at,
        CASE WHEN k %% 5 > 0 THEN at END, CASE WHEN k %% 3 = 0 THEN at END, 0
    FROM bench_message ON CONFLICT DO NOTHING""",
    """INSERT INTO messaging_inboxmessage (party, topic, message_id, message, tag,
        published_at, received_at, state, attempts, next_attempt_at, reason, handled_at)
    SELECT party, topic, md5(k::text) || md5(party || k), '', tag,
        (extract(epoch FROM at) * 1000)::bigint, at, 'handled', 0, at, '', at
    FROM bench_message JOIN bench_topic USING (n),
        (VALUES ('wallet', 4002), ('cast', 4003)) AS parties (party, tag)""",
    """INSERT INTO relay_publishedmessage (id, topic, message_id, message, tag, publisher,
        published_at, expires_at)
    SELECT {base} + k * 2 + place, topic, md5(k::text) || md5(tag || 'x' || k),
        repeat(md5(k::text), length), tag, 'did:key:z' || repeat('x', 47),
        (extract(epoch FROM at) * 1000)::bigint,
        (extract(epoch FROM at + interval '30 days') * 1000)::bigint
    FROM bench_message JOIN bench_topic USING (n),
        (VALUES (0, 4002, 44), (1, 4003, 28)) AS kinds (place, tag, length)""",
)


def run(report: Report, seconds: float) -> None:
    with services(
        NOTIFYWEB_LIMITS="notify_subscriber=1000000+1000000/s,page_read=1000000+1000000/s",
        NOTIFYWEB_STATEMENT_TIMEOUT_MS="0",
    ) as environment:
        manage("collectstatic", "--noinput", "--verbosity", "0")
        import django

        django.setup()
        from keychain.services import ensure_canary

        ensure_canary()
        _Scale(
            report,
            environment,
            subscribers=int(os.environ.get("BENCH_SUBSCRIBERS", SUBSCRIBERS)),
            messages=int(os.environ.get("BENCH_MESSAGES", MESSAGES)),
        ).run()


@dataclass(frozen=True, slots=True)
class _Cost:
    took: float
    cpu: float


class _Scale:
    def __init__(
        self, report: Report, environment: Services, *, subscribers: int, messages: int
    ) -> None:
        self._report = report
        self._environment = environment
        self._subscribers = subscribers
        self._messages = messages
        self._loaded = (0, 0)
        self._own = psutil.Process()
        self._places: dict[str, Any] = {}

    def run(self) -> None:
        self._prepare()
        few = self._load(self._subscribers // FACTOR, self._messages // FACTOR)
        small = self._measure()
        many = self._load(self._subscribers, self._messages)
        large = self._measure()
        linear = []
        for what, cost in large.items():
            before = small[what]
            slope = cost.cpu / max(before.cpu, 1e-6)
            is_flat = slope <= MAX_SLOPE or cost.cpu - before.cpu < FLOOR_S
            if not is_flat:
                linear.append(what)
            self._report.add(
                what,
                f"{milli(cost.took)}, CPU {milli(cost.cpu)}",
                ratio=f"{slope:.1f}x of a {FACTOR}th" + ("" if is_flat else "  LINEAR"),
            )
        self._send()
        self._retire()
        self._report.note(f"loaded: {few}, then {many}")
        self._report.note(
            "grow with what is stored: " + (", ".join(linear) if linear else "none")
        )

    def _prepare(self) -> None:
        from django.db import connection
        from django.test import Client

        from accounts.models import Account, User
        from accounts.services import add_device, bind_session
        from castserver.services.projects.projects import TypeDraft, create_project
        from common import clock

        owner = User.objects.create_user(username="owner", is_staff=True)
        Account.objects.create(
            user=owner, address=f"eip155:1:0x{'f' * 40}", created_at=clock.now()
        )
        self._project, _ = create_project(
            "Bench",
            url="https://dapp.example.org",
            types=[TypeDraft("alerts")],
            owner=owner,
        )
        self._places["slug"] = self._project.slug
        self._clients: dict[str, Client] = {}

        def client(user: User) -> Client:
            made = Client(HTTP_HOST="localhost:8000")
            made.force_login(user)
            device = add_device(user, user_agent="bench")
            bind_session(device, str(made.session.session_key))
            return made

        self._client_of = client
        self._clients["owner"] = client(owner)
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE bench_topic (n integer PRIMARY KEY, topic text)"
            )

    def _load(self, subscribers: int, messages: int) -> str:
        from django.db import connection, transaction

        from accounts.models import User
        from common import entropy
        from keychain.services import Holder, put_sym_keys
        from walletconnect.crypto.keys import SymKey

        began = time.monotonic()
        first, start = self._loaded
        for place in range(first, subscribers, KEYS_AT_ONCE):
            count = min(KEYS_AT_ONCE, subscribers - place)
            keys = [SymKey(entropy.key_bytes()) for _ in range(count)]
            put_sym_keys(Holder.CAST, keys)
            with (
                connection.cursor() as cursor,
                cursor.copy("COPY bench_topic (n, topic) FROM STDIN") as copy,
            ):
                for number, key in enumerate(keys, place):
                    copy.write_row((number, key.topic))
        values = {
            "first": first,
            "last": subscribers - 1,
            "start": start,
            "end": messages - 1,
            "project": self._project.pk,
        }
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in (*_SUBSCRIBERS, *_MESSAGES):
                cursor.execute(statement.format(base=BASE, of_one=OF_ONE), values)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("SELECT pg_database_size(current_database())")
            size = cursor.fetchone()[0]
        self._loaded = (subscribers, messages)
        if "person" not in self._clients:
            self._clients["person"] = self._client_of(User.objects.get(pk=BASE))
        return (
            f"{subscribers:,} subscribers and {messages:,} messages, "
            f"{size / 2**30:.2f} GB, {time.monotonic() - began:.0f} s"
        )

    # --- what is measured -------------------------------------------------------------

    def _measure(self) -> dict[str, _Cost]:
        return {what: self._cost(work) for what, work in self._works().items()}

    def _works(self) -> dict[str, Callable[[], object]]:
        import accounts.services as accounts
        from alerts import tasks as alerts
        from castserver.services import upkeep
        from castserver.services.notifications import broadcast, delivery
        from castserver.services.subscribers import announcements
        from history.tasks import prune_messages
        from identity import services as identity
        from messaging import services as messaging
        from notifyweb.operations import queues
        from notifyweb.operations.storage import table_sizes
        from subscriptions import services as wallet
        from syncstore import services as sync

        def page(who: str, path: str) -> Callable[[], object]:
            return lambda: self._get(who, path)

        pages = {
            f"{who}: {path}": page(who, path)
            for who, paths in {
                "person": (
                    "/inbox",
                    "/inbox?tab=all",
                    "/inbox?tab=archived",
                    "/subscriptions",
                    "/settings",
                    "/sync",
                ),
                "owner": (
                    "/console",
                    "/console/{slug}",
                    "/console/{slug}/send",
                    "/console/{slug}/subscribers",
                    "/ops",
                    "/ops/failed",
                    "/ops/storage",
                    "/ops/audit",
                    "/readyz",
                ),
            }.items()
            for path in paths
        }
        return {
            **pages,
            "sweep: messaging": messaging.sweep,
            "sweep: subscribers past expiry": upkeep.expire_subscribers,
            "sweep: subscriptions past expiry": wallet.expire_subscriptions,
            "sweep: renew subscriptions": wallet.renew_subscriptions,
            "sweep: attempts": wallet.expire_attempts,
            "sweep: snoozed": wallet.wake_snoozed,
            "sweep: watches": wallet.watch_accounts,
            "sweep: announce changes": announcements.announce_changes,
            "sweep: devices": accounts.expire_devices,
            "sweep: broadcasts": broadcast.send_due_broadcasts,
            "sweep: deliveries": delivery.send_due_chunk,
            "oldest row of the outbox": messaging.oldest_due_in_outbox,
            "depth of all queues": queues.depths,
            "sizes of all tables": table_sizes,
            "prune: messaging": messaging.prune,
            "prune: castserver": upkeep.prune,
            "prune: subscriptions": wallet.prune_deleted,
            "prune: accounts": accounts.prune,
            "prune: relay and archive": prune_messages,
            "prune: sync": sync.prune_updates,
            "prune: alerts": alerts.prune,
            "prune: identity": identity.prune,
        }

    def _get(self, who: str, path: str) -> None:
        response = self._clients[who].get(path.format(**self._places))
        if response.status_code not in {200, 503}:
            raise SystemExit(f"{path}: {response.status_code}")
        if response.streaming:
            b"".join(response.streaming_content)

    def _cost(self, work: Callable[[], object]) -> _Cost:
        """The shortest time of some rounds; of the CPU time, which is exact to 10 ms, the
        mean.
        """
        work()
        took, cpu = [], self._cpu()
        for _ in range(ROUNDS):
            began = time.perf_counter()
            work()
            took.append(time.perf_counter() - began)
        return _Cost(min(took), (self._cpu() - cpu) / ROUNDS)

    def _cpu(self) -> float:
        return time.process_time() + self._environment.postgres_cpu()

    def _retire(self) -> None:
        """A week later: what pruning costs for each row that it deletes."""
        from datetime import timedelta

        import accounts.services as accounts
        from common import clock
        from history.services import prune_messages
        from messaging import services as messaging

        for what, work in {
            "account events": accounts.prune,
            "marks of the inbox": messaging.prune,
            "messages of the relay": prune_messages,
        }.items():
            with clock.frozen(clock.now() + timedelta(days=7)):
                began, cpu = time.perf_counter(), self._cpu()
                count = max(1, work())
            took, cpu = time.perf_counter() - began, self._cpu() - cpu
            self._report.add(
                f"pruned: {count:,} {what}",
                f"{count / took:,.0f}/s",
                cpu=f"CPU {micro(cpu / count)} each",
            )

    def _send(self) -> None:
        """One notification to everyone: the request, and a few chunks of the job."""
        from castserver.models import Broadcast
        from castserver.services.notifications.broadcast import (
            notify_everyone,
            send_due_broadcasts,
        )
        from castserver.services.notifications.delivery import send_due_chunk
        from messaging.models import OutboxMessage
        from walletconnect.notify.values import NotifyMessage

        message = NotifyMessage(type="alerts", title="To everyone", body="x" * 200)
        cpu, memory = self._cpu(), self._own.memory_info().rss
        began = time.perf_counter()
        notify_everyone(self._project, message)
        self._report.add(
            "send to everyone: the request",
            f"{milli(time.perf_counter() - began)}, CPU {milli(self._cpu() - cpu)}",
        )
        began, cpu = time.perf_counter(), self._cpu()
        before = OutboxMessage.objects.count()
        until = time.monotonic() + SEND_S
        going = Broadcast.objects.filter(finished_at=None)
        while time.monotonic() < until and going.exists():
            if not (send_due_broadcasts() or send_due_chunk()):
                time.sleep(0.02)
        count = max(1, OutboxMessage.objects.count() - before)
        self._report.add(
            f"send to everyone: {count:,} by one worker",
            f"{count / (time.perf_counter() - began):,.0f}/s",
            ratio=f"{(self._own.memory_info().rss - memory) / 2**20:,.0f} MiB more",
            cpu=f"CPU {micro((self._cpu() - cpu) / count)} each",
        )
