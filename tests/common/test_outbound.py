"""The guarded HTTP client: what it refuses, and that a real answer comes through."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from common.outbound import OutboundFailed, OutboundRefused, check_url, fetch


class Site(BaseHTTPRequestHandler):
    """A small real web site; ``seen`` keeps what reached it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        getattr(self, "answer_" + self.path.strip("/").partition("?")[0])()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, dict(self.headers)))
        self.send(200, body)

    def answer_plain(self):
        self.send(200, b'{"answer": 42}')

    def answer_redirect(self):
        self.send(302, b"", Location="http://localhost/plain")

    def answer_zipped(self):
        self.send(200, gzip.compress(b"x" * 1000), **{"Content-Encoding": "gzip"})

    def answer_bomb(self):
        zipped = gzip.compress(b"\0" * 50_000_000)
        self.send(200, zipped, **{"Content-Encoding": "gzip"})

    def answer_odd(self):
        self.send(200, b"x", **{"Content-Encoding": "br"})

    def answer_drip(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            for _ in range(1000):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass

    def answer_cut(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x")
        self.close_connection = True

    def send(self, status, body, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "tracked=1")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def address(site, settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    return f"http://127.0.0.1:{site.server_port}"


@pytest.fixture
def resolves_to(monkeypatch):
    """Every name resolves to the given addresses; connecting stays real."""

    def resolve(*addresses):
        def getaddrinfo(host, port, *_, **__):
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in addresses
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return resolve


def get(url, **changes):
    return fetch("GET", url, **{"max_bytes": 10_000, "deadline": 3.0, **changes})


def test_an_allowed_host_answers(address):
    answer = get(f"{address}/plain")
    assert (answer.status, answer.json()) == (200, {"answer": 42})
    assert answer.ok


def test_a_json_body_arrives_as_it_was_given(address):
    answer = fetch(
        "POST", f"{address}/echo", json={"a": [1]}, max_bytes=100, deadline=3
    )
    assert json.loads(answer.body) == {"a": [1]}


def test_headers_of_ours_cannot_be_replaced(site, address):
    get(f"{address}/plain", headers={"Host": "evil", "Cookie": "a=b", "X-Mine": "1"})
    _, headers = site.seen[0]
    assert headers["host"] == address.removeprefix("http://")
    assert "cookie" not in headers
    assert headers["x-mine"] == "1"


def test_a_cookie_is_not_kept(site, address):
    get(f"{address}/plain")
    get(f"{address}/plain")
    assert "cookie" not in site.seen[1][1]


def test_proxy_variables_change_nothing(address, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    assert get(f"{address}/plain").ok


def test_a_redirect_is_handed_back_and_not_followed(site, address):
    assert get(f"{address}/redirect").status == 302
    assert len(site.seen) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://example.com:8443/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "https:///path",
        "https://exa mple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/\r\nHost: a",
        "https://example.com:notaport/",
        "https://[::1/",
        "https://example.com/" + "a" * 3000,
        "https://example.com/#part",
        'https://example.com/"a',
        "https://example.com/<a>",
        "https://example.com:0/",
        "https://-bad-.example/",
        "https://a..example/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 126}ab/",
        "https://intranet/",
        "https://10.0.0.1/",
        "https://[fd00::1]/",
        "https://127.1/",
        "https://[fe80::1%25eth0]/",
        "",
    ],
)
def test_a_url_of_another_form_is_refused(url):
    with pytest.raises(OutboundRefused):
        check_url(url)
    with pytest.raises(OutboundRefused):
        get(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod/hook",
        f"https://{'a' * 63}.example/",
        f"https://{'a.' * 125}abc/",
        "https://a_b.example/~me/@you/a;b=1,2/(x)!*'",
        "https://a.example/a%20b?next=https://b.example/?c=%7B%7D&d[]=1|2#".rstrip("#"),
        "https://a.example:443",
        "https://A.Example./",
        "https://m\u00fcnchen.example/gr\u00fc\u00dfe?q=\u00e4",
        "https://8.8.8.8/dns-query",
        "https://[2001:4860:4860::8888]/",
    ],
)
def test_valid_urls_are_accepted(url):
    check_url(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "0x7f.1",
        "2130706433",
        "127.1",
    ],
)
def test_an_inner_host_is_refused(host, settings):
    settings.OUTBOUND_ALLOW = []
    with pytest.raises(OutboundRefused):
        get(f"https://{host}/")


def test_one_inner_address_among_outer_ones_refuses_the_name(resolves_to, settings):
    settings.OUTBOUND_ALLOW = []
    resolves_to("93.184.216.34", "10.0.0.1")
    with pytest.raises(OutboundRefused):
        get("https://dapp.example/")


def test_a_name_that_turns_inwards_later_is_checked_again(resolves_to, settings):
    settings.OUTBOUND_ALLOW = []
    resolves_to("127.0.0.1")
    with pytest.raises(OutboundRefused):
        get("https://dapp.example/")


def test_an_allowed_name_does_not_open_its_neighbours(site, settings):
    settings.OUTBOUND_ALLOW = ["localhost"]
    with pytest.raises(OutboundRefused):
        get(f"http://127.0.0.1:{site.server_port}/plain")
    with pytest.raises(OutboundRefused):
        get(f"http://localhost.evil.example:{site.server_port}/plain")


def test_a_name_without_an_address_may_be_tried_again(resolves_to, settings):
    settings.OUTBOUND_ALLOW = ["dapp.example"]
    resolves_to()
    with pytest.raises(OutboundFailed):
        get("https://dapp.example/")


def test_a_long_answer_is_refused_or_cut(address):
    with pytest.raises(OutboundRefused):
        get(f"{address}/plain", max_bytes=5)
    assert get(f"{address}/plain", max_bytes=5, truncate=True).body == b'{"ans'


def test_a_compressed_answer_is_unfolded(address):
    assert get(f"{address}/zipped").body == b"x" * 1000


def test_a_small_answer_that_unfolds_to_much_is_refused(address):
    with pytest.raises(OutboundRefused):
        get(f"{address}/bomb")


def test_an_encoding_we_did_not_ask_for_is_refused(address):
    with pytest.raises(OutboundRefused):
        get(f"{address}/odd")


def test_a_slow_answer_ends_at_the_deadline(address):
    started = time.monotonic()
    with pytest.raises(OutboundFailed):
        get(f"{address}/drip", deadline=0.4)
    assert time.monotonic() - started < 2


def test_a_broken_answer_may_be_tried_again(address):
    with pytest.raises(OutboundFailed):
        get(f"{address}/cut")


def test_a_closed_port_may_be_tried_again(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(OutboundFailed):
        get(f"http://127.0.0.1:{port}/")
