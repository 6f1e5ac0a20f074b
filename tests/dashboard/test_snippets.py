"""The code examples of the keys page run as they are shown."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from castserver.services.projects.projects import create_project
from dashboard.pages.snippets import snippets_for

pytestmark = pytest.mark.django_db

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
