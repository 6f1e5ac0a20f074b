"""Pages: server time, CPU time and size, with 500 and with 50,000 notifications.

Two users who differ only in the number of their notifications request the same pages in
turns, through the whole middleware, so that whatever else the machine does meets both. Goals
are compared by CPU time, of the process and of PostgreSQL, which other work hardly changes.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bench.environment import manage, services
from bench.report import median, micro, milli, quantile

if TYPE_CHECKING:
    from django.test import Client

    from bench.environment import Services
    from bench.report import Report
    from subscriptions.models import Subscription

FEW: Final = 500
MANY: Final = 50_000
DAPPS: Final = 20
MIN_ROUNDS: Final = 15
MAX_ROUNDS: Final = 200
WARM_UP_ROUNDS: Final = 2
# The system counts the CPU time of other processes in hundredths of a second.
REPEATS: Final = 5
# A live batch of so many new rows, as after a long absence.
BATCH: Final = 480
GOAL_RATIO: Final = 1.3
GOAL_CPU_S: Final = 0.020
INBOX: Final = "/inbox?tab=all"
PAGES: Final = (
    INBOX,
    "/inbox",
    "/inbox?tab=archived",
    "/inbox?tab=snoozed",
    "/inbox?tab=all&type=alerts",
    "/inbox?tab=all&before={middle}",
    "/inbox/{newest}",
    "/subscriptions",
    "/subscriptions/{topic}",
    "/discover",
    "/devices",
    "/sync",
    "/settings",
    "/settings/data",
    "/console",
    "/console/{slug}",
    "/console/{slug}/send",
    "/console/{slug}/subscribers",
)


def run(report: Report, seconds: float) -> None:
    with services(NOTIFYWEB_LIMITS="page_read=1000000+1000000/s") as around:
        manage("collectstatic", "--noinput", "--verbosity", "0")
        import django

        django.setup()
        from keychain.services import ensure_canary

        ensure_canary()
        _Bench(report, around).run(seconds)


@dataclass
class _Reader:
    """A signed-in user and what was measured of each page."""

    client: Client
    user_id: int
    places: dict[str, object]
    took: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    size: dict[str, tuple[int, int]] = field(default_factory=dict)

    def request(self, page: str, *, is_measured: bool) -> None:
        path = page.format(**self.places)
        started, cpu = time.perf_counter(), time.process_time()
        response = self.client.get(path, headers={"accept-encoding": "gzip"})
        cpu, took = time.process_time() - cpu, time.perf_counter() - started
        if response.status_code != 200:
            raise SystemExit(f"{path}: {response.status_code}")
        if is_measured:
            self.took.setdefault(page, []).append(took)
            self.cpu.setdefault(page, []).append(cpu)
            return
        plain = self.client.get(path)
        self.size[page] = (len(plain.content), len(response.content))


class _Bench:
    def __init__(self, report: Report, around: Services) -> None:
        self.report = report
        self.around = around
        self.few, self.many = _reader(FEW), _reader(MANY)
        _analyze()

    def run(self, seconds: float) -> None:
        for _ in range(WARM_UP_ROUNDS):
            self._round(is_measured=False)
        until, rounds = time.monotonic() + seconds, 0
        while rounds < MIN_ROUNDS or (time.monotonic() < until and rounds < MAX_ROUNDS):
            self._round(is_measured=True)
            rounds += 1
        few, many = self.few, self.many
        ratios, databases = {}, {}
        for page in PAGES:
            p95 = quantile(many.took[page], 0.95) / quantile(few.took[page], 0.95)
            ratios[page] = quantile(many.cpu[page], 0.95) / quantile(
                few.cpu[page], 0.95
            )
            at_few, at_many = self._postgres(few, page), self._postgres(many, page)
            databases[page] = at_many - at_few
            plain, sent = many.size[page]
            self.report.add(
                page,
                f"p95 {milli(quantile(many.took[page], 0.95))}, "
                f"{plain / 1000:,.0f} kB, {sent / 1000:,.1f} kB sent",
                ratio=f"CPU p95 {ratios[page]:.2f}x, time p95 {p95:.2f}x of {FEW}",
                cpu=f"{milli(median(many.cpu[page]))}, "
                f"PostgreSQL {milli(at_many)}, {milli(at_few)} at {FEW}",
            )
        self.report.note(f"{rounds} rounds")
        worst = max(ratios, key=lambda page: ratios[page])
        self.report.compare(
            f"page with {MANY:,} notifications: CPU p95, {worst}",
            ratios[worst],
            f"with {FEW}",
            goal=f"<= {GOAL_RATIO}",
        )
        worst = max(databases, key=lambda page: databases[page])
        self.report.compare(
            f"page with {MANY:,}: more CPU of PostgreSQL, {worst}",
            databases[worst] / GOAL_CPU_S,
            milli(GOAL_CPU_S),
            goal="<= 1",
        )
        self.report.compare(
            "page of 60 rows: CPU",
            median(many.cpu[INBOX]) / GOAL_CPU_S,
            milli(GOAL_CPU_S),
            goal="<= 1",
        )
        self._batch()

    def _postgres(self, reader: _Reader, page: str) -> float:
        """CPU seconds of PostgreSQL for one request."""
        cpu = self.around.postgres_cpu()
        for _ in range(REPEATS):
            reader.client.get(page.format(**reader.places))
        return (self.around.postgres_cpu() - cpu) / REPEATS

    def _round(self, *, is_measured: bool) -> None:
        for page in PAGES:
            for reader in (self.few, self.many):
                reader.request(page, is_measured=is_measured)

    def _batch(self) -> None:
        """What the server does for one browser that gets ``BATCH`` rows live."""
        from accounts.models import User
        from dashboard.live import Cursor, next_batch

        user = User.objects.get(pk=self.many.user_id)
        started, size, frames = time.process_time(), 0, 0
        sequence = user.event_sequence - BATCH
        while sequence < user.event_sequence:
            cursor = Cursor(str(user.event_generation), sequence)
            batch = next_batch(user.pk, cursor, zone="UTC", language="en")
            size += len(batch.text.encode())
            sequence, frames = batch.head, frames + 1
        took = time.process_time() - started
        self.report.add(
            f"{BATCH} rows, live",
            f"CPU {milli(took)}, {micro(took / BATCH)} a row, {size / 1000:,.0f} kB "
            f"in {frames} frames",
        )


def _reader(number: int) -> _Reader:
    from django.contrib.auth import SESSION_KEY
    from django.test import Client

    from accounts.models import Account, User
    from accounts.services import add_device, bind_session
    from castserver.services.projects.projects import TypeDraft, create_project
    from common import clock
    from subscriptions.models import NotifyMessageRecord

    user = User.objects.create_user(username=f"bench {number}")
    client = Client(HTTP_HOST="localhost:8000")
    client.force_login(user)
    if SESSION_KEY not in client.session:
        raise SystemExit("the session is not signed in")
    device = add_device(user, user_agent="bench")
    bind_session(device, str(client.session.session_key))
    account = Account.objects.create(
        user=user, address=f"eip155:1:0x{number:040x}", created_at=clock.now()
    )
    project, _ = create_project(
        f"Bench {number}", types=[TypeDraft("news", "News")], owner=user
    )
    subscriptions = [subscription(account, place) for place in range(DAPPS)]
    _fill(subscriptions, number)
    rows = NotifyMessageRecord.objects.filter(subscription__account=account)
    newest = rows.in_inbox().order_by("-published_at", "-pk")
    return _Reader(
        client=client,
        user_id=user.pk,
        places={
            "newest": newest[0].pk,
            "middle": newest[newest.count() // 2].pk,
            "topic": subscriptions[0].topic,
            "slug": project.slug,
        },
    )


def subscription(account: object, place: int) -> Subscription:
    from common import clock
    from subscriptions.models import DappDocument, Subscription

    url = f"https://dapp-{place}.example"
    types = [
        {"name": name, "title": name.title(), "description": f"All {name}"}
        for name in ("alerts", "news", "offers")
    ]
    DappDocument.objects.get_or_create(
        url=url,
        defaults={
            "domain": url.partition("//")[2],
            "name": f"Dapp {place}",
            "types": types,
            "created_at": clock.now(),
        },
    )
    return Subscription.objects.create(
        account=account,
        topic=secrets.token_hex(32),
        metadata={"name": f"Dapp {place}", "description": "", "url": url, "icons": []},
        scope={
            each["name"]: {"description": each["description"], "enabled": True}
            for each in types
        },
        expiry=int(clock.now().timestamp()) + 86_400 * 30,
        dapp_url=url,
        added_by=Subscription.AddedBy.SUBSCRIBE,
        created_at=clock.now(),
    )


def _fill(subscriptions: list[Subscription], number: int) -> None:
    """Half of the rows unread, some archived, some snoozed, all with events."""
    from django.db import transaction

    from accounts.services import record_events
    from common import clock
    from subscriptions.models import NotifyMessageRecord
    from subscriptions.services.wallet import message_events

    now = clock.now()
    for start in range(0, number, 1_000):
        with transaction.atomic():
            records = NotifyMessageRecord.objects.bulk_create(
                NotifyMessageRecord(
                    subscription=subscriptions[place % DAPPS],
                    rpc_id=place + 1,
                    type=("alerts", "news", "offers")[place % 3],
                    title=f"Notification {place} of so many that came here",
                    body="Voting ends on Friday at noon. " * 6,
                    url="https://dapp-1.example/there",
                    message_auth=f"x{place}",
                    published_at=now - timedelta(minutes=number - place),
                    received_at=now,
                    read_at=now if place % 2 else None,
                    archived_at=now if place % 10 == 3 else None,
                    snoozed_until=now + timedelta(days=1) if place % 10 == 4 else None,
                )
                for place in range(start, min(start + 1_000, number))
            )
            record_events(message_events("notify.message", records))


def _analyze() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
