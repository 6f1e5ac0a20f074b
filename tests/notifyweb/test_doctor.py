"""``manage.py doctor``: what is wrong is found, named and explained; nothing is changed."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections import namedtuple
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from alerts.models import PushSubscription
from common import clock, heartbeat
from common.connections import shared_redis
from messaging import outbox
from messaging.models import Party
from notifyweb import health
from notifyweb.doctor import checks, databases, network
from notifyweb.doctor.findings import Level, exit_code, fault, ok, summary, warning
from tests import ethereum_node
from tests.dashboard.conftest import alice as alice_fixture
from tests.dashboard.conftest import open_keychain as keychain_fixture
from tests.notifyweb.test_environment import manage
from tests.notifyweb.test_readiness import relay as relay_fixture
from tests.system import free_port

KEY = base64.b64encode(bytes(32)).decode()
relay = relay_fixture
alice, open_keychain = alice_fixture, keychain_fixture


def by_name(findings):
    found = {}
    for finding in findings:
        if found.get(finding.name, finding).level is Level.OK:
            found[finding.name] = finding
        else:
            found.setdefault(finding.name, finding)
    return found


# --- the command ------------------------------------------------------------------------


@pytest.mark.system
def test_every_wrong_variable_is_reported_at_once(tmp_path):
    done = manage(
        "doctor",
        "--json",
        NOTIFYWEB_DATA_DIR=str(tmp_path),
        NOTIFYWEB_PORT="eight",
        NOTIFYWEB_LIMITS="no_such_limit=1",
        KEYCHAIN_KEYS="k1:short",
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["result"] == "fault"
    names = {finding["name"] for finding in report["findings"]}
    assert names == {"NOTIFYWEB_PORT", "NOTIFYWEB_LIMITS", "KEYCHAIN_KEYS"}
    assert all(finding["advice"] for finding in report["findings"])


@pytest.mark.system
def test_a_wrong_option_is_code_two(tmp_path):
    done = manage("doctor", "--jsn", NOTIFYWEB_DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "--jsn" in done.stderr


@pytest.mark.system
def test_a_database_that_does_not_answer_is_a_fault_and_the_rest_is_checked(tmp_path):
    port = free_port()
    done = manage(
        "doctor",
        "--json",
        NOTIFYWEB_DATA_DIR=str(tmp_path),
        DATABASE_URL=f"postgres://someone:hidden-word@127.0.0.1:{port}/none",
        REDIS_URL=f"redis://127.0.0.1:{port}/0",
        SECRET_KEY="short",
        KEYCHAIN_KEYS=f"k1:{KEY}",
        NOTIFYWEB_PROT="9",
    )
    assert done.returncode == 1, done.stderr
    assert "hidden-word" not in done.stdout
    report = json.loads(done.stdout)
    levels = {
        finding["name"]: finding["level"]
        for finding in report["findings"]
        if finding["level"] != "ok"
    }
    assert levels["SECRET_KEY"] == "warning"
    assert levels["NOTIFYWEB_PROT"] == "warning"
    assert {"postgres", "redis", "worker", "beat"} <= set(levels)
    prot = next(f for f in report["findings"] if f["name"] == "NOTIFYWEB_PROT")
    assert "NOTIFYWEB_PORT" in prot["advice"]


@pytest.mark.system
def test_a_fresh_running_system_is_well(system):
    done = system.manage("doctor", check=False)
    # The machine's disk and connections are not ours to fill or free.
    assert done.returncode == 0, done.stdout
    assert "checks passed" in done.stdout


# --- single checks ----------------------------------------------------------------------


@pytest.fixture
def running(db, redis_client, relay):
    for name in health.MAX_HEARTBEAT_AGE_S:
        heartbeat.beat(name)


@pytest.mark.django_db(transaction=True)
def test_the_report_has_what_readyz_has(running):
    found = by_name(checks.examine())
    for name, component in health.readiness().items():
        assert (found[name].level is Level.OK) == component.ok
    assert found["clock"].level is Level.OK
    assert found["postgres version"].level is Level.OK
    assert found["redis policy"].level is Level.OK
    assert found["VAPID key"].level is Level.OK


def test_whatever_is_wrong_has_advice(running):
    shared_redis().delete(heartbeat.KEY_PREFIX + "beat")
    found = checks.examine()
    assert by_name(found)["beat"].level is Level.FAULT
    assert [f for f in found if f.level is not Level.OK and not f.advice] == []


def test_an_evicting_redis_is_a_warning(redis_client):
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert by_name(databases.redis())["redis policy"].level is Level.WARNING
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(("wrong_by", "level"), [(10, "warning"), (300, "fault")])
def test_a_clock_that_differs_from_the_servers(db, redis_client, wrong_by, level):
    with clock.frozen(clock.now() - timedelta(seconds=wrong_by)):
        assert by_name(databases.postgres())["clock"].level == level
        assert by_name(databases.redis())["clock"].level == level


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("free", "level"), [(50 << 30, "ok"), (900 << 20, "warning"), (1 << 20, "fault")]
)
def test_disk_space(monkeypatch, tmp_path, free, level):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100 << 30, 0, free))
    (finding,) = checks._disk_space(tmp_path)
    assert finding.level == level


def test_a_data_directory_that_others_can_read(tmp_path):
    tmp_path.chmod(0o755)
    key = tmp_path / "secret_key"
    key.write_text("x")
    key.chmod(0o640)
    found = list(checks._rights(tmp_path))
    assert [f.level for f in found] == [Level.FAULT, Level.FAULT]
    assert f"chmod 600 {key}" in found[1].advice


def test_another_program_on_our_port(settings, relay):
    settings.PORT = relay.server_port  # answers /health only
    settings.EMBEDDED_RELAY = False
    (finding,) = network.listening()
    assert finding.level is Level.FAULT
    assert "another program" in finding.state


def test_nothing_on_our_port(settings):
    settings.PORT = free_port()
    settings.EMBEDDED_RELAY = False
    (finding,) = network.listening()
    assert finding.level is Level.FAULT
    settings.PRODUCTION = True
    (finding,) = network.listening()
    assert finding.level is Level.WARNING


@pytest.mark.parametrize(
    ("https", "proxies", "level"),
    [(True, 0, "warning"), (False, 1, "warning"), (True, 1, "ok"), (False, 0, "ok")],
)
def test_proxy_headers_fit_the_public_url(settings, https, proxies, level):
    settings.PUBLIC_HTTPS = https
    settings.TRUSTED_PROXIES = proxies
    assert by_name(network.proxy())["proxy headers"].level == level


def test_allowed_hosts_lack_the_public_host(settings):
    settings.PUBLIC_HOST = "notify.example"
    settings.ALLOWED_HOSTS = ["other.example"]
    assert by_name(network.proxy())["ALLOWED_HOSTS"].level is Level.FAULT


@pytest.fixture
def tls_port(tmp_path):
    """A TLS server with a certificate that no authority signed."""
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 5 "
        "-keyout key.pem -out cert.pem -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        command.split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.system
def test_a_certificate_that_is_not_trusted_and_one_that_expires(
    settings, tls_port, tmp_path, monkeypatch
):
    settings.PUBLIC_URL = f"https://localhost:{tls_port}"
    settings.EMBEDDED_RELAY = False
    (finding,) = network.certificates()
    assert finding.level is Level.FAULT
    assert "refused" in finding.state
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    (finding,) = network.certificates()
    assert finding.level is Level.WARNING
    assert "expires in" in finding.state


def test_mail_that_cannot_be_sent(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
    (finding,) = checks._mail()
    assert finding.level is Level.FAULT
    assert "EMAIL_URL" in finding.advice


# --- endpoints of chains --------------------------------------------------------------


@pytest.fixture
def node(settings):
    settings.OUTBOUND_ALLOW = ["localhost"]
    with ethereum_node.running_node() as node:
        settings.RPC_URLS = {1: f"{node.url}/v2/a-secret-key"}
        yield node


def test_an_endpoint_that_answers_truthfully(node):
    (finding,) = network.chain_endpoints()
    assert finding == ok("RPC endpoints", "chain 1 (localhost) answers truthfully")
    # The right chain is asked for each time: the node may have been changed since.
    node.chain_id = 5
    (finding,) = network.chain_endpoints()
    assert finding.level is Level.FAULT
    assert "of chain 5" in finding.state
    assert "NOTIFYWEB_RPC_URLS" in finding.advice
    assert "a-secret-key" not in finding.state + finding.advice


YES = b'{"jsonrpc": "2.0", "id": 1, "result": "0x01"}'
NO = YES.replace(b"01", b"00")
CHAIN = YES.replace(b"0x01", b"0x1")


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([CHAIN, YES, YES], "accepts a signature that is not valid"),
        ([CHAIN, NO], "refuses a signature that is valid"),
        ([b"<html>sign up</html>"], "no JSON-RPC answer"),
        ([CHAIN, b'{"error": {"code": -32601, "message": "no eth_call"}}'], "-32601"),
        ([b'{"result": "mainnet"}'], "unusable answer"),
    ],
)
def test_an_endpoint_that_lies_or_fails_is_named(node, answers, problem):
    node.answers = answers
    (finding,) = network.chain_endpoints()
    assert finding.level is Level.FAULT
    assert "chain 1 (localhost)" in finding.state
    assert problem in finding.state


def test_an_endpoint_that_does_not_answer_in_time(node, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, contract_check_deadline_s=1)
    node.answering.clear()
    began = clock.monotonic()
    (finding,) = network.chain_endpoints()
    assert finding.level is Level.FAULT
    assert clock.monotonic() - began < 10


def test_slow_endpoints_are_a_warning_and_asked_at_once(node, settings, monkeypatch):
    monkeypatch.setattr(network, "MAX_ENDPOINT_S", 0.0)
    settings.RPC_URLS = {1: node.url, 10: f"http://localhost:{free_port()}"}
    slow, absent = network.chain_endpoints()
    assert (slow.level, absent.level) == (Level.WARNING, Level.FAULT)
    settings.RPC_URLS = {}
    (none,) = network.chain_endpoints()
    assert none.level is Level.OK


# --- what is behind the public URL ------------------------------------------------------


class Proxied(BaseHTTPRequestHandler):
    """Answers as a proxy may; ``status`` by path, 404 for others."""

    def do_GET(self):
        status = self.server.statuses.get(self.path, 404)
        self.send_response(status)
        body = b'{"status": "ok"}' if status == 200 else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def proxied(settings):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxied)
    server.statuses = {"/healthz": 200, "/health": 200, "/ws/device/": 403}
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    settings.PRODUCTION = True
    settings.PUBLIC_URL = f"http://localhost:{server.server_port}"
    settings.RELAY_PUBLIC_URL = f"ws://localhost:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_public_url_that_leads_to_us(proxied):
    assert {f.level for f in network.public_addresses()} == {Level.OK}


@pytest.mark.parametrize(
    ("path", "status", "name", "problem"),
    [
        ("/healthz", 502, "public URL", "the proxy answers 502"),
        ("/healthz", 301, "public URL", "another program answers"),
        ("/health", 404, "public URL", "NOTIFYWEB_RELAY_PUBLIC_URL"),
        ("/ws/device/", 404, "browser sockets", "is answered with 404"),
    ],
)
def test_a_proxy_that_does_not_lead_to_us(proxied, path, status, name, problem):
    proxied.statuses[path] = status
    found = by_name(network.public_addresses())[name]
    assert found.level is Level.FAULT
    assert problem in found.state
    assert found.advice


@pytest.mark.parametrize(
    ("allowed", "url", "level", "problem"),
    [
        (["localhost"], None, Level.OK, "can be read"),
        ([], None, Level.WARNING, "only https on port 443 is reached"),
        ([], "https://10.0.0.9", Level.WARNING, "10.0.0.9"),
        (["127.0.0.1"], "http://127.0.0.1:1", Level.WARNING, "cannot be read at"),
    ],
)
def test_whether_hosted_dapps_can_be_read(
    proxied, settings, allowed, url, level, problem
):
    settings.OUTBOUND_ALLOW = allowed
    settings.PUBLIC_URL = url or settings.PUBLIC_URL
    (finding,) = network.hosted_dapps()
    assert (finding.level, problem in finding.state) == (level, True), finding
    assert level is Level.OK or finding.advice


def test_a_public_url_that_does_not_answer_from_here_is_a_warning(settings):
    settings.PRODUCTION, settings.EMBEDDED_RELAY = True, False
    settings.PUBLIC_URL = f"http://localhost:{free_port()}"
    (finding,) = network.public_addresses()
    assert finding.level is Level.WARNING


@pytest.mark.parametrize(
    ("forwarded", "proxies", "level"),
    [
        ("", 0, "ok"),
        ("192.0.2.1", 1, "ok"),
        ("10.9.9.9, 192.0.2.1", 1, "ok"),
        ("192.0.2.1", 0, "warning"),
        ("", 1, "fault"),
        ("192.0.2.1", 2, "fault"),
    ],
)
def test_the_page_sees_what_the_proxies_write(settings, rf, forwarded, proxies, level):
    settings.TRUSTED_PROXIES = proxies
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    (finding,) = network.proxy_of(rf.get("/ops/doctor", headers=headers))
    assert finding.level == level


def test_the_page_sees_whether_https_arrives(settings, rf):
    settings.PUBLIC_HTTPS = True
    found = by_name(network.proxy_of(rf.get("/ops/doctor")))
    assert "X-Forwarded-Proto" in found["this request"].advice
    assert [f.level for f in network.proxy_of(rf.get("/ops/doctor", secure=True))] == [
        Level.OK
    ]


# --- push and PostgreSQL ----------------------------------------------------------------


def test_pushes_that_fail_are_a_warning_with_the_reason(alice):
    assert by_name(checks._push())["push"].level is Level.OK
    PushSubscription.objects.create(
        device=alice.device,
        endpoint="https://push.example/1",
        public_key=bytes(65),
        created_at=clock.now(),
        reason="the push service answered 403",
    )
    found = by_name(checks._push())["push"]
    assert found.level is Level.WARNING
    assert "answered 403" in found.state


def test_a_database_that_may_lose_commits_is_a_fault(db):
    # That of the tests is set up so, to be fast.
    found = by_name(databases.postgres())["postgres durability"]
    assert found.level is Level.FAULT
    assert "fsync" in found.state


def test_another_server_that_cannot_be_reached(settings):
    settings.EMBEDDED_RELAY = False
    settings.RELAY_URL = f"wss://127.0.0.1:{free_port()}"
    found = by_name(network.other_servers())
    assert found["RELAY_URL"].level is Level.FAULT


@pytest.mark.system
def test_another_server_whose_certificate_is_refused(settings, tls_port, monkeypatch):
    settings.EMBEDDED_RELAY = False
    settings.RELAY_URL = f"wss://localhost:{tls_port}"
    monkeypatch.setenv("SENTRY_DSN", f"https://key@localhost:{tls_port}/1")
    found = by_name(network.other_servers())
    assert "certificate is refused" in found["RELAY_URL"].state
    assert "certificate is refused" in found["SENTRY_DSN"].state
    assert "key@" not in found["SENTRY_DSN"].state


def test_summary_and_exit_code():
    fine = [ok("a", "x"), ok("b", "y")]
    assert (summary(fine), exit_code(fine)) == ("All 2 checks passed.", 0)
    wrong = [*fine, warning("c", "x", "do"), fault("d", "x", "do")]
    assert (summary(wrong), exit_code(wrong)) == ("1 fault, 1 warning: d, c", 1)


@pytest.mark.parametrize(
    ("count", "level"), [(0, Level.OK), (7, Level.OK), (8, Level.WARNING)]
)
def test_a_shard_that_is_nearly_full_is_reported(db, settings, count, level):
    """Nine of ten topics that a client may have are used; more than 80 % of those are many."""
    settings.LIMITS = dataclasses.replace(settings.LIMITS, relay_topics_per_client=10)
    topics = [f"abc{number:061x}" for number in range(count)]
    # Those of other shards and of the other party do not count.
    outbox.subscribe(Party.WALLET, [*topics, *(f"{n:064x}" for n in range(3))])
    outbox.subscribe(Party.CAST, [f"abc{number:061x}" for number in range(5)])
    [finding] = databases.shards()
    assert finding.level is level
    assert ("begin with abc" in finding.state) is (level is Level.WARNING)
