"""``/readyz`` is 200 only when every component works, and lists those that do not."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from common import clock, heartbeat
from common.connections import shared_redis
from messaging.models import OutboxMessage
from notifyweb import health, startup
from notifyweb.environment import SettingError


class Healthy(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self):
        self.send_response(self.server.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def relay(settings):
    """A server for ``/health`` at the address of the embedded relay."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
    server.status = 200
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    settings.EMBEDDED_RELAY = True
    settings.RELAY_URL = f"ws://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def heartbeats(redis_client):
    for name in ("gateway", "worker", "outbound", "beat"):
        heartbeat.beat(name)
    return redis_client


@pytest.fixture(autouse=True)
def _nothing_remembered():
    health._write_probe.forget()
    health._backlog_probe.forget()
    startup._passed.clear()
    yield
    startup._passed.clear()


def readyz():
    answer = Client().get("/readyz")
    components = answer.json()["components"]
    missing = [name for name, state in components.items() if not state["ok"]]
    return answer, missing


@pytest.mark.django_db
def test_a_complete_system_is_ready(relay, heartbeats):
    answer, missing = readyz()
    assert missing == []
    assert answer.status_code == 200
    assert answer.json()["ready"] is True


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["gateway", "worker", "outbound", "beat"])
def test_a_process_without_heartbeat_is_listed(relay, heartbeats, name):
    heartbeats.delete(f"heartbeat:{name}")
    answer, missing = readyz()
    assert missing == [name]
    assert answer.status_code == 503
    assert answer["Retry-After"]


@contextlib.contextmanager
def read_only_database():
    """New connections may read only, as on a standby that took over the address."""
    database = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER DATABASE {database} SET default_transaction_read_only = on"
        )
        try:
            yield
        finally:
            cursor.execute(
                f"ALTER DATABASE {database} RESET default_transaction_read_only"
            )


@pytest.mark.django_db(transaction=True)
def test_failing_writes_are_listed(relay, heartbeats):
    with read_only_database():
        answer, missing = readyz()
    assert answer.status_code == 503
    assert missing == ["writes"]
    assert "read-only" in answer.json()["components"]["writes"]["state"]
    assert readyz()[1] == ["writes"], "the outcome is kept for some seconds"
    health._write_probe.forget()
    assert readyz()[1] == []


@pytest.mark.django_db(transaction=True)
def test_readiness_writes_files_and_log_so_that_a_full_disk_shows():
    def written() -> tuple[int, int]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT temp_bytes, pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
                " FROM pg_stat_database WHERE datname = current_database()"
            )
            return cursor.fetchone()

    files, log = written()
    assert health._write_probe.fault() == ""
    until = time.monotonic() + 20
    while written()[0] < files + 100_000:
        assert time.monotonic() < until, "statistics arrive when the session ends"
        time.sleep(0.05)
    assert written()[1] > log


def outbox_row(**changes):
    now = clock.now()
    return OutboxMessage.objects.create(
        **{
            "party": "wallet",
            "topic": "0" * 64,
            "message_id": "0" * 64,
            "message": "AA==",
            "tag": 4002,
            "ttl": 300,
            "created_at": now,
            "next_attempt_at": now,
        }
        | changes
    )


@pytest.mark.django_db(transaction=True)
def test_a_message_that_is_due_for_too_long_is_listed(relay, heartbeats):
    long_ago = clock.now() - timedelta(seconds=health.MAX_DUE_AGE_S + 5)
    outbox_row()
    outbox_row(next_attempt_at=long_ago, attempts=3)
    outbox_row(next_attempt_at=long_ago, state="sent")
    assert readyz()[1] == []
    outbox_row(next_attempt_at=long_ago)
    health._backlog_probe.forget()
    answer, missing = readyz()
    assert (answer.status_code, missing) == (503, ["messages"])
    state = answer.json()["components"]["messages"]["state"]
    assert state.startswith("the oldest row of the outbox has been due for 12")


@pytest.mark.django_db
def test_an_old_heartbeat_does_not_count(relay, heartbeats):
    heartbeats.set("heartbeat:worker", 1_600_000_000_000)
    assert readyz()[1] == ["worker"]


@pytest.mark.django_db
def test_an_unreachable_relay_is_listed(relay, heartbeats):
    relay.status = 503
    assert readyz()[1] == ["relay"]


@pytest.mark.django_db
def test_an_external_relay_counts_as_up_while_the_gateway_does(heartbeats, settings):
    settings.EMBEDDED_RELAY = False
    assert readyz()[1] == []


@pytest.mark.django_db
def test_an_unavailable_redis_is_listed(relay, settings, tmp_path):
    settings.REDIS_URL = f"unix://{tmp_path}/absent.sock"
    shared_redis.cache_clear()
    try:
        assert readyz()[1] == ["redis", "gateway", "worker", "outbound", "beat"]
    finally:
        shared_redis.cache_clear()


@pytest.mark.django_db
def test_a_pending_migration_is_listed_and_prevents_a_start(relay, heartbeats):
    MigrationRecorder.Migration.objects.filter(app="dashboard").delete()
    MigrationRecorder.Migration.objects.filter(app="castserver").delete()
    assert readyz()[1] == ["migrations"]
    with pytest.raises(SettingError, match=r"castserver.*manage\.py migrate"):
        startup.check_startup()


@pytest.mark.django_db
def test_older_code_does_not_start_on_a_newer_schema():
    MigrationRecorder.Migration.objects.create(app="relay", name="9999_of_tomorrow")
    with pytest.raises(SettingError, match=r"relay\.9999_of_tomorrow"):
        startup.check_startup()


@pytest.mark.django_db
def test_a_wrong_keychain_key_is_listed_and_prevents_a_start(
    relay, heartbeats, monkeypatch
):
    from keychain.services import KeyringError

    def closed():
        raise KeyringError("The keychain was sealed by key k0.")

    monkeypatch.setattr(startup, "check_canary", closed)
    assert readyz()[1] == ["keychain"]
    with pytest.raises(SettingError, match="sealed by key k0"):
        startup.check_startup()


@pytest.mark.django_db
def test_a_checked_system_starts():
    startup.check_startup()


@pytest.mark.parametrize(
    "host",
    ["10.42.8.201:8000", "[fd00::1]:8000", "web", "notify_web_1:8000", "bad host", ""],
)
@pytest.mark.django_db
def test_probes_accept_any_host_and_pages_do_not(relay, heartbeats, host):
    caller = Client(HTTP_HOST=host)
    for name in ("healthz", "livez", "readyz", "metrics"):
        assert caller.get(f"/{name}").status_code == 200, name
        assert caller.head(f"/{name}").status_code == 200, name
    assert caller.get("/signin").status_code == 400


def test_probes_take_no_other_method():
    answer = Client().post("/healthz")
    assert answer.status_code == 405
    assert answer["Allow"] == "GET, HEAD"
    assert answer["Content-Type"] == "application/problem+json"
