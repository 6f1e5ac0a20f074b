"""Our client of a History Server, against our own in process and over HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from history import client, services
from history.models import HistoryRegistration
from relayserver.models import ArchivedTag
from tests.history.conftest import message_id, topic
from walletconnect.relay.auth import verify_client_auth


@pytest.fixture(params=["in process", "over HTTP"])
def server(request, transactional_db, settings):
    """Our own History Server, reached in both ways."""
    if request.param == "over HTTP":
        live = request.getfixturevalue("live_server")
        settings.HISTORY_SERVER_IS_OURS = False
        settings.HISTORY_SERVER_URL = f"{live.url}/history"
        settings.OUTBOUND_ALLOW = ["localhost", "127.0.0.1"]
    return request.param


def texts(page):
    return [each.message for each in page.messages]


def test_registering_archives_the_tags(server):
    client.register([4002, 5000])

    assert set(ArchivedTag.objects.values_list("tag", flat=True)) == {4002, 5000}
    assert HistoryRegistration.objects.count() == (server == "over HTTP")


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_pages_lead_from_one_end_to_the_other(server, publish, direction):
    services.archive([5000])
    on = topic()
    expected = [f"{n}" for n in range(25)]
    publish(on, expected)

    found, origin = [], None
    while True:
        page = client.messages(on, direction=direction, count=10, origin=origin)
        found += texts(page)
        origin = page.next_id
        if origin is None:
            break

    assert found == (expected if direction == "forward" else expected[::-1])


def test_a_page_shorter_than_requested_is_the_last(server, publish, monkeypatch):
    """Clients that page by length may rely on it, also when messages are long."""
    monkeypatch.setattr(services, "PAGE_BYTES", 2_000)
    services.archive([5000])
    on = topic()
    publish(on, [f"{n}" + "x" * 900 for n in range(5)])

    assert len(client.messages(on, direction="forward", count=4).messages) == 4
    assert len(client.messages(on, direction="forward", count=9).messages) == 5


def test_an_unknown_topic_is_an_empty_page(server):
    page = client.messages(topic(), direction="backward", count=200)

    assert page.messages == ()
    assert page.next_id is None


class ForeignServer:
    """A History Server that sends prepared answers and records the requests."""

    def __init__(self):
        self.asked = []
        self.status, self.body = 200, b"{}"
        foreign = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                length = int(self.headers.get("Content-Length", 0))
                foreign.asked.append(
                    (
                        self.command,
                        self.path,
                        dict(self.headers),
                        self.rfile.read(length),
                    )
                )
                self.send_response(foreign.status)
                self.send_header("Content-Length", str(len(foreign.body)))
                self.end_headers()
                self.wfile.write(foreign.body)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def foreign(settings):
    with ForeignServer() as server:
        settings.HISTORY_SERVER_IS_OURS = False
        settings.HISTORY_SERVER_URL = server.url
        settings.OUTBOUND_ALLOW = ["127.0.0.1"]
        yield server


def test_registering_elsewhere_proves_our_relay_client(db, foreign, settings):
    client.register({5002, 4002, 5000})

    [(method, path, headers, body)] = foreign.asked
    assert (method, path) == ("POST", "/register")
    scheme, _, token = headers["authorization"].partition(" ")
    assert scheme == "Bearer"
    from common import clock

    verify_client_auth(token, now=clock.now_s(), audiences=[foreign.url])
    assert json.loads(body) == {
        "tags": ["4002", "5000", "5002"],
        "relayUrl": settings.RELAY_PUBLIC_URL,
    }


def test_message_ids_of_others_are_computed(foreign):
    on = topic()
    foreign.body = json.dumps(
        {
            "topic": on,
            "direction": "backward",
            "nextId": None,
            "messages": [{"message_id": "lie", "topic": on, "message": "text"}],
        }
    ).encode()

    page = client.messages(on, direction="backward", count=200)

    assert [each.message_id for each in page.messages] == [message_id("text")]
    [(_, path, _, _)] = foreign.asked
    assert path == f"/messages?topic={on}&direction=backward&messageCount=200"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (404, b"not found"),
        (200, b"no json"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"messages":[7]}'),
        (200, b'{"messages":[{"message":7}]}'),
    ],
)
def test_an_unusable_answer_is_unavailability(foreign, status, body):
    foreign.status, foreign.body = status, body

    with pytest.raises(client.HistoryUnavailable):
        client.messages(topic(), direction="backward", count=200)


def test_a_server_that_is_away_is_unavailable(settings):
    settings.HISTORY_SERVER_IS_OURS = False
    settings.HISTORY_SERVER_URL = "http://127.0.0.1:9"
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]

    with pytest.raises(client.HistoryUnavailable):
        client.messages(topic(), direction="backward", count=200)


def test_a_server_that_runs_in_circles_is_left(foreign):
    foreign.body = json.dumps(
        {"messages": [{"message": "same"}], "nextId": message_id("same")}
    ).encode()

    page = client.messages(topic(), direction="backward", count=50)

    assert len(foreign.asked) < 5
    assert texts(page) == ["same"]
