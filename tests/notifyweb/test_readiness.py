"""``/readyz`` is 200 only when everything the system needs is there, and says what not."""

from __future__ import annotations

import http.server
import threading

import pytest
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from common import heartbeat
from common.connections import shared_redis
from notifyweb import startup
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
    """Something that answers ``/health`` where the embedded relay should be."""
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
def signs(redis_client):
    for name in ("gateway", "worker", "outbound", "beat"):
        heartbeat.beat(name)
    return redis_client


@pytest.fixture(autouse=True)
def _nothing_remembered():
    startup._in_order.clear()
    yield
    startup._in_order.clear()


def readyz():
    answer = Client().get("/readyz")
    components = answer.json()["components"]
    missing = [name for name, state in components.items() if not state["ok"]]
    return answer, missing


@pytest.mark.django_db
def test_all_there_is_ready(relay, signs):
    answer, missing = readyz()
    assert missing == []
    assert answer.status_code == 200
    assert answer.json()["ready"] is True


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["gateway", "worker", "outbound", "beat"])
def test_a_silent_process_is_named(relay, signs, name):
    signs.delete(f"heartbeat:{name}")
    answer, missing = readyz()
    assert missing == [name]
    assert answer.status_code == 503
    assert answer["Retry-After"]


@pytest.mark.django_db
def test_an_old_sign_of_life_is_none(relay, signs):
    signs.set("heartbeat:worker", 1_600_000_000_000)
    assert readyz()[1] == ["worker"]


@pytest.mark.django_db
def test_a_relay_that_does_not_answer_is_named(relay, signs):
    relay.status = 503
    assert readyz()[1] == ["relay"]


@pytest.mark.django_db
def test_another_relay_is_judged_by_our_connection_to_it(signs, settings):
    settings.EMBEDDED_RELAY = False
    assert readyz()[1] == []


@pytest.mark.django_db
def test_an_absent_redis_is_named(relay, settings, tmp_path):
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    shared_redis.cache_clear()
    try:
        assert readyz()[1] == ["redis", "gateway", "worker", "outbound", "beat"]
    finally:
        shared_redis.cache_clear()


@pytest.mark.django_db
def test_a_pending_migration_is_named_and_nothing_starts(relay, signs):
    MigrationRecorder.Migration.objects.filter(app="dashboard").delete()
    MigrationRecorder.Migration.objects.filter(app="castserver").delete()
    assert readyz()[1] == ["migrations"]
    with pytest.raises(SettingError, match=r"castserver.*manage\.py migrate"):
        startup.check_startup()


@pytest.mark.django_db
def test_a_newer_schema_keeps_older_code_from_starting():
    MigrationRecorder.Migration.objects.create(app="relay", name="9999_of_tomorrow")
    with pytest.raises(SettingError, match=r"relay\.9999_of_tomorrow"):
        startup.check_startup()


@pytest.mark.django_db
def test_a_wrong_keychain_key_is_named_and_nothing_starts(relay, signs, monkeypatch):
    from keychain.services import KeyringError

    def closed():
        raise KeyringError("The keychain was sealed by key k0.")

    monkeypatch.setattr(startup, "check_canary", closed)
    assert readyz()[1] == ["keychain"]
    with pytest.raises(SettingError, match="sealed by key k0"):
        startup.check_startup()


@pytest.mark.django_db
def test_what_is_in_order_lets_processes_start():
    startup.check_startup()


@pytest.mark.parametrize(
    "host",
    ["10.42.8.201:8000", "[fd00::1]:8000", "web", "notify_web_1:8000", "bad host", ""],
)
@pytest.mark.django_db
def test_probes_answer_whatever_host_they_name_and_pages_do_not(relay, signs, host):
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
