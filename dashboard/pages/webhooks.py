"""The log of a project's webhooks, and code that receives their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db.models import Q

from castserver.models import WebhookDelivery
from dashboard.pages.snippets import Snippet

if TYPE_CHECKING:
    from castserver.models import Project, Webhook

PAGE: Final = 50
PLACEHOLDER: Final = "whsec_YOUR_SECRET"

PYTHON: Final = """\
import base64, hashlib, hmac, json, time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = base64.b64decode("{secret}".removeprefix("whsec_"))


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        sent_at = self.headers["webhook-timestamp"]
        signed = f"{{self.headers['webhook-id']}}.{{sent_at}}.".encode() + body
        digest = hmac.new(SECRET, signed, hashlib.sha256).digest()
        expected = "v1," + base64.b64encode(digest).decode()
        given = self.headers["webhook-signature"].split()
        is_recent = abs(time.time() - int(sent_at)) < 300
        if not is_recent or not any(hmac.compare_digest(expected, each) for each in given):
            self.send_error(401)
            return
        event = json.loads(body)
        print(event["event"], event["account"], flush=True)
        self.send_response(204)
        self.end_headers()


HTTPServer(("127.0.0.1", {port}), Receiver).serve_forever()
"""
JAVASCRIPT: Final = """\
import {{ createHmac, timingSafeEqual }} from "node:crypto";
import {{ createServer }} from "node:http";

const secret = Buffer.from("{secret}".replace(/^whsec_/, ""), "base64");

createServer(async (request, response) => {{
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const sentAt = request.headers["webhook-timestamp"];
  const signed = Buffer.concat([Buffer.from(`${{request.headers["webhook-id"]}}.${{sentAt}}.`), body]);
  const expected = Buffer.from("v1," + createHmac("sha256", secret).update(signed).digest("base64"));
  const matches = request.headers["webhook-signature"].split(" ").map((each) => Buffer.from(each))
    .some((each) => each.length === expected.length && timingSafeEqual(each, expected));
  if (!matches || Math.abs(Date.now() / 1000 - Number(sentAt)) > 300) {{
    response.writeHead(401).end();
    return;
  }}
  const event = JSON.parse(body);
  console.log(event.event, event.account);
  response.writeHead(204).end();
}}).listen({port}, "127.0.0.1");
"""
PHP: Final = """\
<?php // php -S 127.0.0.1:{port} receiver.php
$secret = base64_decode(preg_replace('/^whsec_/', '', '{secret}'));
$body = file_get_contents('php://input');
$sentAt = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '0';
$signed = ($_SERVER['HTTP_WEBHOOK_ID'] ?? '') . '.' . $sentAt . '.' . $body;
$expected = 'v1,' . base64_encode(hash_hmac('sha256', $signed, $secret, true));
$matches = false;
foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $each) {{
    $matches = hash_equals($expected, $each) || $matches;
}}
if (!$matches || abs(time() - (int) $sentAt) > 300) {{
    http_response_code(401);
    exit;
}}
$event = json_decode($body, true);
file_put_contents('php://stdout', $event['event'] . ' ' . $event['account'] . PHP_EOL);
http_response_code(204);
"""


@dataclass(frozen=True, slots=True)
class LogPage:
    """Deliveries, newest first; ``older`` continues the list."""

    deliveries: list[WebhookDelivery]
    older: str


def webhook_log(
    project: Project,
    *,
    webhook: Webhook | None = None,
    state: str = "",
    before: WebhookDelivery | None = None,
) -> LogPage:
    found = WebhookDelivery.objects.filter(webhook__project=project)
    if webhook is not None:
        found = found.filter(webhook=webhook)
    if state:
        found = found.filter(state=state)
    if before is not None:
        at = before.created_at
        found = found.filter(Q(created_at__lt=at) | Q(created_at=at, pk__lt=before.pk))
    rows = list(
        found.select_related("webhook")
        .prefetch_related("tries")
        .order_by("-created_at", "-pk")[: PAGE + 1]
    )
    older = str(rows[PAGE - 1].pk) if len(rows) > PAGE else ""
    return LogPage(rows[:PAGE], older)


def receivers(secret: str = "", port: int = 8090) -> list[Snippet]:
    """Servers that verify an event's signature, complete and without dependencies."""
    return [
        Snippet(name, label, text.format(secret=secret or PLACEHOLDER, port=port))
        for name, label, text in (
            ("receive-python", "Python", PYTHON),
            ("receive-javascript", "JavaScript", JAVASCRIPT),
            ("receive-php", "PHP", PHP),
        )
    ]
