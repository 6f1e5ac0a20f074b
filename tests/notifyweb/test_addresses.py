"""Addresses in settings: normalized, and with one meaning for every client."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import sys
import time

import pytest

from notifyweb import environment as env
from notifyweb.environment import SettingError
from notifyweb.redis_address import REDIS_TLS_OPTIONS, RedisAddress, redis_address
from tests.notifyweb.web_process import web_process
from tests.system import BASE, System, clean_environment, free_port

HTTP = ("http", "https")


# --- public URLs ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("https://notify.example", "https://notify.example"),
        ("https://notify.example/", "https://notify.example"),
        ("https://notify.example:443", "https://notify.example"),
        ("https://notify.example:443/", "https://notify.example"),
        ("https://notify.example:", "https://notify.example"),
        ("https://notify.example.", "https://notify.example"),
        ("HTTPS://Notify.Example:8443", "https://notify.example:8443"),
        ("http://notify.example:80", "http://notify.example"),
        ("http://notify.example:443", "http://notify.example:443"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]:80", "http://[::1]"),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]"),
        ("http://192.0.2.7:8000", "http://192.0.2.7:8000"),
    ],
)
def test_a_public_url_is_normalized(monkeypatch, given, taken):
    monkeypatch.setenv("URL", given)
    assert env.origin("URL", "", schemes=HTTP) == taken


@pytest.mark.parametrize(
    "given",
    [
        "https://notify.example/notify",
        "https://notify.example/?a=b",
        "https://notify.example?",
        "https://notify.example/#top",
        "https://user@notify.example",
        "https://user:password@notify.example",
        "ftp://notify.example",
        "notify.example",
        "https:notify.example",
        "https://",
        "https:///",
        "https://:443",
        "https://notify.example:0",
        "https://notify.example:70000",
        "https://notify.example:port",
        "https://my_host",
        "https://notify..example",
        "https://notify example",
        "https://notify.example\\@evil.example",
        "https://[::1",
        "https://[v1.x]",
    ],
)
def test_a_wrong_public_url_is_refused(monkeypatch, given):
    monkeypatch.setenv("URL", given)
    with pytest.raises(SettingError, match=r"^URL "):
        env.origin("URL", "", schemes=HTTP)


def test_the_url_of_an_external_server_may_have_a_path(monkeypatch):
    monkeypatch.setenv("URL", "https://History.example:443/v1/")
    assert env.address("URL", schemes=HTTP) == "https://history.example/v1"


@pytest.mark.parametrize(
    ("given", "bound", "reached"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),  # noqa: S104
        ("::1", "::1", "[::1]"),
        ("[::1]", "::1", "[::1]"),
        ("::", "::", "[::1]"),
        ("0:0:0:0:0:0:0:0", "::", "[::1]"),
        ("localhost", "localhost", "localhost"),
    ],
)
def test_a_bind_address_is_reached_by_a_url(monkeypatch, given, bound, reached):
    monkeypatch.setenv("BIND", given)
    found = env.bind("BIND", "127.0.0.1")
    assert found == bound
    assert env.url_host(env.local_host(found)) == reached


@pytest.mark.parametrize("given", ["127.0.0.1:80", "http://localhost", "a b", "[::1"])
def test_a_wrong_bind_address_is_refused(monkeypatch, given):
    monkeypatch.setenv("BIND", given)
    with pytest.raises(SettingError, match=r"^BIND "):
        env.bind("BIND", "127.0.0.1")


@pytest.mark.system
@pytest.mark.parametrize("bind", ["::1", "::"])
def test_the_whole_system_is_ready_on_ipv6(bind):
    running = System(NOTIFYWEB_BIND=bind, NOTIFYWEB_PUBLIC_URL="http://[::1]:8000")
    running.launch()
    try:
        until = time.monotonic() + 120
        while "ready after" not in running.output():
            assert time.monotonic() < until, running.output()[-2000:]
            time.sleep(0.2)
    finally:
        running.remove()


@pytest.mark.system
@pytest.mark.django_db(transaction=True)
def test_the_address_of_an_ipv6_client_is_seen(redis_client):
    with web_process() as (port, _):
        line = http.client.HTTPConnection("::1", port, timeout=60)
        with contextlib.closing(line):
            line.request("GET", "/slow/client", headers={"Host": "localhost"})
            assert line.getresponse().read() == b"::1"


@pytest.mark.system
@pytest.mark.django_db(transaction=True)
def test_errors_of_the_web_server_itself_look_like_ours(redis_client):
    """Refused before Django: by Twisted, by Daphne, by the WebSocket library."""
    upgrade = b"GET /ws/device/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    upgrade += b"Upgrade: websocket\r\n"
    requests = [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET /?\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        upgrade + b"Sec-WebSocket-Version: 13\r\n\r\n",
        upgrade + b"Sec-WebSocket-Version: 13\r\nOrigin: https://evil.example\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ]
    with web_process() as (port, _):
        for request in requests:
            with socket.create_connection(("::1", port), timeout=60) as line:
                line.sendall(request)
                answer = http.client.HTTPResponse(line)
                answer.begin()
                body = json.loads(answer.read())
            assert 400 <= answer.status < 500, request
            assert answer.headers["X-Request-Id"] == body["requestId"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "python" not in str(answer.headers).lower()


# --- Redis ----------------------------------------------------------------------------


def connection_arguments(address: RedisAddress) -> list[dict]:
    """The connection arguments of each client: Django's cache, Channels, Celery."""
    import redis
    from celery import Celery
    from channels_redis.utils import create_pool

    app = Celery(broker=address.celery_url, set_as_current=False)
    app.conf.broker_use_ssl = address.celery_tls
    with app.connection_for_write() as line:
        queue = line.transport.Channel._connparams(_Unopened(line))
    pools = [
        redis.ConnectionPool.from_url(address.url).connection_kwargs,
        create_pool({"address": address.url}).connection_kwargs,
        queue,
    ]
    names = (
        "host",
        "port",
        "path",
        "db",
        "username",
        "password",
        *REDIS_TLS_OPTIONS,
    )
    return [
        {name: pool[name] for name in names if pool.get(name) not in (None, "")}
        for pool in pools
    ]


class _Unopened:
    """The attributes that kombu's channel reads to build its connection arguments."""

    def __init__(self, line) -> None:
        self._channel = line.transport.Channel
        self.connection = type("Transport", (), {"client": line, "default_port": 6379})

    def __getattr__(self, name):
        found = getattr(self._channel, name)
        return found.__get__(self) if hasattr(found, "__get__") else found


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache.example", {"host": "cache.example", "port": 6379, "db": 0}),
        ("redis:///2", {"host": "localhost", "port": 6379, "db": 2}),
        ("redis://localhost:7000/3", {"host": "localhost", "port": 7000, "db": 3}),
        ("redis://localhost/3/", {"host": "localhost", "port": 6379, "db": 3}),
        ("redis://localhost?db=4", {"host": "localhost", "port": 6379, "db": 4}),
        ("redis://[::1]:7000/1", {"host": "::1", "port": 7000, "db": 1}),
        (
            "redis://:p%40ss%2Fw%3Ard%25@localhost/0",
            {"host": "localhost", "port": 6379, "db": 0, "password": "p@ss/w:rd%"},
        ),
        (
            "redis://us%40er:pass@localhost",
            {"host": "localhost", "port": 6379, "db": 0}
            | {"username": "us@er", "password": "pass"},
        ),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock", "db": 0}),
        ("unix:///run/a%20b%3F.sock?db=2", {"path": "/run/a b?.sock", "db": 2}),
        (
            "unix://:p%40ss@/run/redis.sock?db=2",
            {"path": "/run/redis.sock", "db": 2, "password": "p@ss"},
        ),
        (
            "redis+socket:///run/redis.sock?virtual_host=2",
            {"path": "/run/redis.sock", "db": 2},
        ),
        (
            "rediss://cache.example",
            {"host": "cache.example", "port": 6379, "db": 0}
            | {"ssl_cert_reqs": "required", "ssl_check_hostname": True},
        ),
        (
            "rediss://:pw@cache.example:6380/2?ssl_cert_reqs=CERT_NONE"
            f"&ssl_ca_certs={__file__}",
            {"host": "cache.example", "port": 6380, "db": 2, "password": "pw"}
            | {"ssl_cert_reqs": "none", "ssl_check_hostname": True}
            | {"ssl_ca_certs": __file__},
        ),
        (
            "rediss://cache.example?ssl_cert_reqs=optional&ssl_check_hostname=false",
            {"host": "cache.example", "port": 6379, "db": 0}
            | {"ssl_cert_reqs": "optional", "ssl_check_hostname": False},
        ),
    ],
)
def test_a_redis_url_means_the_same_to_each_client(url, expected):
    address = redis_address("REDIS_URL", url)
    assert "pass" not in repr(address)
    assert connection_arguments(address) == [expected] * 3


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "sentinel://localhost",
        "redis+cluster://localhost",
        "localhost:6379",
        "redis://localhost/cache",
        "redis://localhost/1/2",
        "redis://localhost/1?db=2",
        "redis://localhost?db=one",
        "redis://localhost?db=1&db=2",
        "redis://localhost?ssl_cert_reqs=none",
        "redis://localhost?socket_timeout=5",
        "redis://localhost:0",
        "redis://:pa#ss@localhost",
        "rediss://localhost?ssl_cert_reqs=perhaps",
        "rediss://localhost?ssl_cert_req=none",
        "rediss://localhost?ssl_ca_certs=/no/such/file",
        "rediss://localhost?ssl_check_hostname=perhaps",
        "unix://run/redis.sock",
        "unix://",
    ],
)
def test_a_redis_url_that_clients_parse_differently_is_refused(url):
    with pytest.raises(SettingError, match=r"^REDIS_URL") as refused:
        redis_address("REDIS_URL", url)
    assert "pa#ss" not in str(refused.value)


ASK = """
import asyncio, django; django.setup()
from channels.layers import get_channel_layer
from django.core.cache import cache
from notifyweb.celery import app
def queue():
    with app.connection_for_write() as line:
        line.ensure_connection(max_retries=1, timeout=5)
        line.default_channel.client.ping()
async def group():
    layer = get_channel_layer()
    await layer.group_add("group", await layer.new_channel())
    await layer.group_send("group", {"type": "nothing"})
for name, ask in (("cache", lambda: cache.get("a")), ("queue", queue),
                  ("channels", lambda: asyncio.run(group()))):
    try:
        ask()
    except Exception as error:
        print(name, "refused" if "CERTIFICATE" in str(error) else repr(str(error)))
    else:
        print(name, "connected")
"""


@pytest.fixture
def tls_redis(tmp_path):
    """A Redis with a self-signed certificate: its port and certificate."""
    server = shutil.which("redis-server")
    openssl = shutil.which("openssl")
    if server is None or openssl is None:
        pytest.skip("Debian's redis-server and openssl are not installed")
    request = (
        "req -x509 -newkey rsa:2048 -nodes -days 3 -subj /CN=localhost"
        " -addext subjectAltName=DNS:localhost"
        f" -keyout {tmp_path}/key -out {tmp_path}/certificate"
    )
    subprocess.run(
        [openssl, *request.split()],
        check=True,
        capture_output=True,
    )
    port = free_port()
    options = {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(tmp_path / "certificate"),
        "tls-key-file": str(tmp_path / "key"),
        "tls-auth-clients": "no",
        "bind": "127.0.0.1",
        "save": "",
        "requirepass": "planted",
        "dir": str(tmp_path),
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([server, *words], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 20
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port)),
        ):
            break
        assert time.monotonic() < until
        time.sleep(0.05)
    yield port, tmp_path / "certificate"
    process.terminate()
    process.wait(10)


@pytest.mark.system
def test_every_client_checks_the_certificate_of_redis(tls_redis, tmp_path):
    port, certificate = tls_redis

    def answers(query: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", ASK],
            cwd=BASE,
            env=clean_environment(
                REDIS_URL=f"rediss://:planted@localhost:{port}/0{query}",
                NOTIFYWEB_DATA_DIR=str(tmp_path / "data"),
                DJANGO_SETTINGS_MODULE="notifyweb.settings",
            ),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert "planted" not in done.stdout + done.stderr
        return [" ".join(line.split()[:2]) for line in done.stdout.splitlines()[-3:]]

    names = ("cache", "queue", "channels")
    assert answers("") == [f"{name} refused" for name in names]
    for query in (f"?ssl_ca_certs={certificate}", "?ssl_cert_reqs=none"):
        assert answers(query) == [f"{name} connected" for name in names], query
