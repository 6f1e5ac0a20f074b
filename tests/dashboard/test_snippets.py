"""The code examples of the console run as they are shown."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from castserver.models import Webhook, WebhookDelivery
from castserver.services.projects.projects import create_project
from castserver.services.webhooks.sender import deliver_due_webhooks
from castserver.services.webhooks.webhooks import (
    TEST_ACCOUNT,
    queue_test_event,
    register_webhook,
    rotate_secret,
)
from common import clock
from dashboard.pages.snippets import snippets_for
from dashboard.pages.webhooks import receivers

pytestmark = [pytest.mark.system, pytest.mark.django_db]

COMMANDS = {
    "curl": ["sh", "-c"],
    "python": [sys.executable, "-c"],
    "javascript": ["node", "--input-type=module", "-e"],
}


@pytest.fixture
def receiver():
    """A server that stores each request as (path, bearer, body)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(
                (self.path, self.headers["Authorization"], json.loads(body))
            )
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"sent": ["ok"]}')

        def log_message(self, *args):
            pass

    received: list[tuple[str, str, dict]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/cast", received
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "name", ["Acme DAO", 'O\'Brien "& Sons" $HOME `id` \\ %', "Größe 😀 שלום"]
)
def test_snippets_run_as_shown(receiver, settings, name):
    settings.CAST_API_URL, received = receiver
    project, secret = create_project(name)
    for snippet in snippets_for(project, secret):
        done = subprocess.run(
            [*COMMANDS[snippet.name], snippet.text],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (snippet.name, done.stderr)
        assert "sent" in done.stdout
        path, bearer, body = received.pop()
        assert path == f"/cast/{project.pk}/notify"
        assert bearer == f"Bearer {secret}"
        assert body["notification"]["body"] == f"The first notification of {name}"
        assert body["accounts"]


PROGRAMS = {
    "receive-python": [sys.executable],
    "receive-javascript": ["node"],
    "receive-php": ["php", "-S"],
}


@pytest.fixture(params=PROGRAMS)
def program(request, tmp_path, project_webhook):
    """One of the receivers, started as it is shown; its port and its output."""
    name = request.param
    webhook, secret = project_webhook
    with socket.create_server(("127.0.0.1", 0)) as trial:
        port = trial.getsockname()[1]
    [snippet] = [each for each in receivers(secret, port) if each.name == name]
    suffix = {"receive-php": "php", "receive-javascript": "mjs"}.get(name, "py")
    file = tmp_path / f"receiver.{suffix}"
    file.write_text(snippet.text)
    command = [*PROGRAMS[name], file]
    if name == "receive-php":
        command.insert(2, f"127.0.0.1:{port}")
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    wait_for_port(port)
    yield webhook, port, log
    process.terminate()
    process.wait(10)


@pytest.fixture
def project_webhook(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    project, _ = create_project("Acme", url="https://acme.example")
    return register_webhook(project, "http://127.0.0.1:9/", events=["subscribed"])


def wait_for_port(port):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the receiver did not start")


def test_receivers_run_as_shown(program):
    """Signed with the secret, or with two during a rotation: accepted. Otherwise: 401."""
    webhook, port, log = program
    Webhook.objects.update(url=f"http://127.0.0.1:{port}/")
    queue_test_event(webhook)
    deliver_due_webhooks()
    assert WebhookDelivery.objects.get().state == "delivered"
    rotate_secret(webhook)
    queue_test_event(webhook)
    deliver_due_webhooks()
    assert WebhookDelivery.objects.filter(state="delivered").count() == 2
    with clock.frozen(clock.now() + timedelta(hours=25)):
        queue_test_event(webhook)
        deliver_due_webhooks()
    assert WebhookDelivery.objects.filter(last_status=401).count() == 1
    text = log.read_text()
    assert text.count(f"test {TEST_ACCOUNT}") == 2, text
