"""A History Server on a port of its own, with the paging of the published one."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Archive:
    """Keeps messages per topic, oldest first. ``status`` makes it fail."""

    def __init__(self) -> None:
        self.kept: dict[str, list[str]] = {}
        self.status = 200
        self.registrations = 0
        self.asked: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        self.url = f"http://localhost:{self._server.server_address[1]}"

    def keep(self, topic: str, *messages: str) -> None:
        self.kept.setdefault(topic, []).extend(messages)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def page(self, query: dict[str, str]) -> dict[str, object]:
        self.asked.append(query)
        topic = query["topic"]
        messages = list(self.kept.get(topic, ()))
        if query.get("direction") == "backward":
            messages.reverse()
        ids = [hashlib.sha256(message.encode()).hexdigest() for message in messages]
        origin = query.get("originId")
        start = ids.index(origin) if origin in ids else 0
        count = min(int(query.get("messageCount", 200)), 200)
        end = start + count
        return {
            "topic": topic,
            "direction": query.get("direction", "forward"),
            "nextId": ids[end] if end < len(ids) else None,
            "messages": [
                {
                    "message_id": message_id,
                    "client_id": "did:key:z6Mk",
                    "topic": topic,
                    "message": message,
                    "method": "",
                }
                for message_id, message in zip(
                    ids[start:end], messages[start:end], strict=True
                )
            ],
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                archive.registrations += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: each[0] for name, each in parse_qs(parts.query).items()}
                body = json.dumps(archive.page(query)).encode()
                self.send_response(archive.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
