"""Recognisable secrets go through a whole running system; no output may contain one.

Looked at: logs at level DEBUG, every command that Redis receives (tasks and their arguments,
channel messages, counters) and what it holds, pages, the admin and ``/ops``, a dump of the
database and the file of an export. ``test_error_pages`` looks at error pages.
Each secret is searched in every common encoding.
"""

from __future__ import annotations

import base64
import contextlib
import http.cookiejar
import json
import re
import secrets as random_secrets
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import redis

from notifyweb.embedded.binaries import binaries
from notifyweb.embedded.paths import Paths
from tests.alerts.conftest import PushingBrowser
from tests.castserver.receiver import Receiver
from tests.system import System
from walletconnect.crypto.ethereum import address_of, sign_eip191

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

WALLET = b"\xd7" * 32
PASSPHRASE = "zq9 planted passphrase of the export"
FORWARD_TOKEN = "zq9-planted-forward-token"
MAIL_PASSWORD = "zq9-planted-mail-password"
RPC_KEY = "zq9-planted-rpc-key"
ADMIN_PASSWORD = "zq9 planted admin password"
SECRET_KEY = "zq9-planted-secret-key-" + "k" * 40
PUSH_AUTH = b"zq9 push auth 16"
WRONG_BEARER = "zq9-planted-wrong-bearer-" + "w" * 20
KEYCHAIN_KEY = base64.b64encode(b"zq9 planted sealing key 32 bytes").decode()
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
ONCE = re.compile(r'name="once" value="([^"]+)"')
SHOWN = re.compile(r'id="project-secret" tabindex="0">([^<]+)</pre>')
# What seals and signs, and what is derived from nothing that a peer has.
MIN_LENGTH = 12


def encodings(secret: bytes) -> set[str]:
    """A secret as any code might print it."""
    text = secret.decode("utf-8", "replace")
    found = {
        secret.hex(),
        secret.hex().upper(),
        base64.b64encode(secret).decode().rstrip("="),
        base64.urlsafe_b64encode(secret).decode().rstrip("="),
        repr(secret)[2:-1],
        ", ".join(str(each) for each in secret),
    }
    if text.isprintable():
        found |= {text, urllib.parse.quote(text), urllib.parse.quote_plus(text)}
    return {each for each in found if len(each) >= MIN_LENGTH}


class Visitor:
    """A browser without JavaScript."""

    def __init__(self, system: System) -> None:
        self.base = system.base_url
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.jar)
        )
        self.token = ""

    def get(self, path: str, **headers: str) -> str:
        return self.send(path, None, headers)

    def post(self, path: str, **fields: Any) -> str:
        form = {"csrfmiddlewaretoken": self.token, **fields}
        return self.send(path, urllib.parse.urlencode(form, doseq=True).encode(), {})

    def upload(self, path: str, content: bytes, **fields: str) -> str:
        edge = random_secrets.token_hex(8)
        parts = [
            f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in {"csrfmiddlewaretoken": self.token, **fields}.items()
        ]
        head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        body = "".join(parts).encode() + head.encode() + content
        body += f"\r\n--{edge}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
        return self.send(path, body, kind)

    def send(self, path: str, body: bytes | None, headers: dict[str, str]) -> str:
        url = path if path.startswith("http") else self.base + path
        request = urllib.request.Request(  # noqa: S310
            url, body, {"Accept": "text/html", "Origin": self.base, **headers}
        )
        try:
            with self.opener.open(request, timeout=60) as answer:
                self.url, text = answer.url, answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            self.url, text = url, error.read().decode("utf-8", "replace")
        if found := TOKEN.search(text):
            self.token = found[1]
        return text

    def sign_in(self, key: bytes, *, sync: bool = False) -> list[str]:
        """Sign in; returns the signatures, which must stay unknown as well."""
        self.get("/signin")
        self.post("/signin/begin", address=address_of(key), signer="elsewhere")
        signed = sign_eip191(self.get("/signin/text/1"), key)
        self.post("/signin/prove", signature=signed)
        share = self.url
        if not sync:
            return [signed]
        account = share.partition("account=")[2]
        shared = sign_eip191(self.get(f"/signin/text/2?account={account}"), key)
        # The wrong text first, so that an error page and a log line had the chance.
        self.post(share, signature=signed)
        self.post(share, signature=shared)
        return [signed, shared]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture(scope="module")
def planted(receiver: Receiver) -> Iterator[System]:
    system = System(
        SECRET_KEY=SECRET_KEY,
        KEYCHAIN_KEYS=f"planted:{KEYCHAIN_KEY}",
        NOTIFYWEB_RPC_URLS=f"1=http://127.0.0.1:9/{RPC_KEY}",
        EMAIL_URL=f"smtp://mailer:{MAIL_PASSWORD}@127.0.0.1:9",
        NOTIFYWEB_LOG_LEVEL="DEBUG",
    )
    try:
        yield system.start()
    finally:
        system.remove()


class Monitor:
    """Every command that Redis receives while the block runs."""

    def __init__(self, path: str) -> None:
        self.client = redis.Redis(unix_socket_path=path)
        self.lines: list[str] = []
        self._stop = threading.Event()
        self._ready = threading.Event()

    def __enter__(self) -> Monitor:
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def _read(self) -> None:
        with self.client.monitor() as monitor:
            self._ready.set()
            while not self._stop.is_set():
                command = monitor.next_command()
                self.lines.append(command["command"])

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        # A last command ends the blocking read.
        self.client.ping()
        self._thread.join(10)

    def content(self) -> str:
        """All keys with their values, as Redis serialises them."""
        found = []
        for key in self.client.scan_iter():
            with contextlib.suppress(redis.ResponseError):
                found.append(f"{key!r} {self._value(key)!r}")
        return "\n".join(found)

    def _value(self, key: bytes) -> Any:
        kind = self.client.type(key)
        if kind == b"list":
            return self.client.lrange(key, 0, -1)
        if kind == b"hash":
            return self.client.hgetall(key)
        if kind == b"zset":
            return self.client.zrange(key, 0, -1)
        if kind == b"set":
            return self.client.smembers(key)
        if kind == b"stream":
            return self.client.xrange(key)
        return self.client.get(key)


def wait_for(what: Any, timeout: float = 90.0) -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError("it did not happen")


def live(
    system: System, receiver: Receiver
) -> tuple[dict[str, set[bytes]], str, Visitor]:
    """Drive every flow that handles a secret; returns the planted ones and an export."""
    known: dict[str, set[bytes]] = {
        "passphrase": {PASSPHRASE.encode()},
        "forward token": {FORWARD_TOKEN.encode()},
        "mail password": {MAIL_PASSWORD.encode()},
        "RPC credentials": {RPC_KEY.encode()},
        "SECRET_KEY": {SECRET_KEY.encode()},
        "sealing key": {base64.b64decode(KEYCHAIN_KEY)},
        "push key": {PUSH_AUTH},
        "wrong bearer": {WRONG_BEARER.encode()},
        "admin password": {ADMIN_PASSWORD.encode()},
        "wallet key": {WALLET},
    }
    alice = Visitor(system)
    signatures = alice.sign_in(WALLET, sync=True)
    known["sync signature"] = {
        bytes.fromhex(signatures[1].removeprefix("0x")),
        signatures[1].encode(),
    }
    cookies = {cookie.value for cookie in alice.jar if "session" in cookie.name}
    known["session"] = {(value or "").encode() for value in cookies}
    # A dapp of her own, its secrets, and a webhook.
    page = alice.get("/console/project/new")
    once = ONCE.search(page)
    page = alice.post(
        "/console/project/new",
        name="Lumen",
        types="orders: Orders",
        once=once[1] if once else "a",
    )
    (secret,) = SHOWN.findall(page)
    slug = alice.url.split("/console/")[1].split("/")[0]
    known["API secret"] = {secret.encode()}
    page = alice.get(f"/console/{slug}/webhooks")
    page = alice.post(
        f"/console/{slug}/webhooks",
        url=receiver.url,
        events=["subscribed", "unsubscribed"],
    )
    known["webhook secret"] = {
        found.encode() for found in re.findall(r"whsec_[\w+/=]+", page)
    }
    assert known["webhook secret"]
    # Alerts.
    alice.get("/settings")
    alice.post(
        "/settings/alerts/forwards",
        kind="ntfy",
        url=f"{receiver.origin}/t",
        token=FORWARD_TOKEN,
    )
    browser = PushingBrowser(receiver.url, auth=PUSH_AUTH)
    alice.post("/settings/alerts/push", subscription=json.dumps(browser.subscription))
    # Subscribe to it, with both Cast and wallet side here; send, receive, acknowledge.
    dapp = f"{system.base_url}/dapps/{slug}"
    page = alice.get(f"/discover/dapp?url={urllib.parse.quote(dapp)}")
    account = re.search(r'name="account" value="(\d+)"', page)
    assert account, page[-2000:]
    alice.post("/discover/subscribe", url=dapp, type="orders", account=account[1])
    wait_for(
        lambda: "subscription-" in alice.get("/subscriptions") and receiver.received
    )
    body = {
        "notification": {"type": "orders", "title": "Hello", "body": "World"},
        "accounts": [f"eip155:1:{address_of(WALLET)}"],
    }
    call = json.dumps(body).encode()
    json_type = {"Content-Type": "application/json"}
    own = {**json_type, "Authorization": f"Bearer {secret}", "Idempotency-Key": "a"}
    assert '"sent"' in alice.send("/cast/notify", call, own)
    wait_for(lambda: "Hello" in alice.get("/inbox?tab=all"))
    wait_for(lambda: len(receiver.received) > 2)
    # Failures, with secrets in them.
    wrong = {**json_type, "Authorization": f"Bearer {WRONG_BEARER}"}
    alice.send("/cast/notify", call, wrong)
    alice.send("/cast/notify", b'{"secret": "' + secret.encode(), own)
    alice.send(f"/history/messages?topic={WRONG_BEARER}", None, wrong)
    # Export and import.
    alice.get("/settings/data")
    exported = alice.post(
        "/settings/data/export", passphrase=PASSPHRASE, again=PASSPHRASE
    )
    assert '"kind"' in exported
    alice.get("/settings/data")
    alice.post("/settings/data/export", passphrase=PASSPHRASE, again=PASSPHRASE + "x")
    alice.upload("/settings/data/import", exported.encode(), passphrase=PASSPHRASE)
    alice.upload(
        "/settings/data/import", exported.encode(), passphrase=PASSPHRASE + "x"
    )
    # A second device comes and goes.
    second = Visitor(system)
    second.sign_in(WALLET)
    second.get("/settings")
    second.post("/signout")
    # The admin's form, wrong and right.
    root = Visitor(system)
    root.get("/admin/login/")
    root.post("/admin/login/", username="root", password=ADMIN_PASSWORD + "x")
    return known, exported, alice


def found_in(text: str, known: dict[str, set[bytes]]) -> set[str]:
    return {
        kind
        for kind, values in known.items()
        for value in values
        if any(each in text for each in encodings(value))
    }


def test_no_output_contains_a_secret(planted: System, receiver: Receiver):
    system = planted
    paths = Paths(system.data_dir / "data")
    code = (
        "from accounts.models import User; "
        f"User.objects.create_superuser('root', password={ADMIN_PASSWORD!r})"
    )
    system.manage("shell", "-c", code)
    with Monitor(str(paths.redis_socket)) as monitor:
        known, exported, alice = live(system, receiver)
        root = Visitor(system)
        root.get("/admin/login/")
        # A page outside of the admin ends a session without a device.
        root.post(
            "/admin/login/", username="root", password=ADMIN_PASSWORD, next="/admin/"
        )
        admin = crawl(root, "/admin/")
        pages = crawl(alice, "/inbox")
        content = monitor.content()
    # Every secret that is sealed at rest.
    opened = system.manage(
        "shell",
        "-c",
        "from tests.tenancy.secrets_at_rest import print_secrets as p; p()",
    )
    (line,) = [x for x in opened.stdout.splitlines() if x.startswith("SECRETS ")]
    at_rest = {
        kind: {bytes.fromhex(each) for each in values}
        for kind, values in json.loads(line.removeprefix("SECRETS ")).items()
    }
    kinds = {kind.split(" ")[0] for kind in at_rest}
    assert {"SymKeyEntry", "KeyPairEntry", "SigningKeyEntry", "SecretEntry"} <= kinds
    # The canary is a constant, and the sync store keys are in the sealed part of exports.
    known |= at_rest
    assert sum(map(len, known.values())) > 25
    dump = subprocess.run(
        [
            str(binaries() / "pg_dump"),
            f"--host={paths.postgres_run}",
            "--username=notifyweb",
            "notifyweb",
        ],
        capture_output=True,
        check=True,
        timeout=120,
    ).stdout.decode("utf-8", "replace")
    assert "COPY public.keychain_symkeyentry" in dump
    outputs = {
        "log": system.output(),
        "Redis commands": "\n".join(monitor.lines),
        "Redis content": content,
        "dump": dump,
        "export": exported,
        "admin": admin,
        "pages": pages,
    }
    assert all(len(text) > 500 for text in outputs.values())
    assert len(monitor.lines) > 100
    # Each output does hold what it is about, and the search does find.
    for name, text in {
        "Redis commands": "messaging.",
        "dump": "Lumen",
        "pages": "Hello",
        "admin": "Forwards",
        "export": '"sealed"',
    }.items():
        assert text in outputs[name], name
    for kind, values in known.items():
        for value in values:
            assert all(
                kind in found_in(f"a {each} b", known) for each in encodings(value)
            )
    leaks = {name: found_in(text, known) for name, text in outputs.items()}
    assert leaks == {name: set() for name in outputs}


LINK = re.compile(r'href="(/[^"#]*)"')
SKIPPED = ("/static/", "/signout", "/texts/", "/admin/logout", "/dapps/", "/signin")


def crawl(visitor: Visitor, start: str, most: int = 250) -> str:
    """The text of every page that links lead to, below the part of the site."""
    seen, due, texts = {start}, [start], []
    while due and len(texts) < most:
        path = due.pop(0)
        text = visitor.get(path)
        texts.append(text)
        for link in LINK.findall(text):
            link = link.replace("&amp;", "&")
            # Lists of the admin link to themselves in every order.
            where = link.partition("?")[0]
            if where not in seen and not where.startswith(SKIPPED):
                seen.add(where)
                due.append(link)
    return "\n".join(texts)
