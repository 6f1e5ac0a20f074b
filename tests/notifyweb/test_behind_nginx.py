"""``deploy/nginx.conf`` with TLS in front of two of each process, as docs/deployment.md says.

The processes run in production mode from a copy of what an image holds, on a PostgreSQL and
a Redis outside of them. Released npm clients, a browser's session and a dapp's backend use
them through the proxy only; then one of each is replaced, one after the other.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx
import psycopg
import pytest
import websockets
from django.conf import settings

from tests.browser_device import BrowserDevice, wait_for
from tests.clients.conftest import npm_packages  # noqa: F401  # fixtures
from tests.clients.node import Scenario
from tests.notifyweb.test_image import database, image  # noqa: F401  # fixtures
from tests.system import BASE, clean_environment, free_port
from walletconnect.crypto.ethereum import address_of

pytestmark = [
    pytest.mark.system,
    # Minutes for one test: it runs before a release and after changes of deploy/.
    pytest.mark.skipif(
        "TEST_DEPLOYMENT" not in os.environ, reason="make test-deployment"
    ),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx"),
]

PROCESSES = ("relay", "web", "gateway", "worker", "outbound")
LIMITS = "notify_project=10000+1000/s,notify_subscriber=10000+1000/s"
SEND_EVERY_S = 0.5
MAX_STOP_S = 60.0


class Deployment:
    """Two of each process, beat, and nginx with a certificate for this machine."""

    def __init__(self, folder: Path, tree: Path, database_url: str) -> None:
        self.folder = folder
        self._tree = tree
        self._ports = {name: [free_port(), free_port()] for name in ("web", "relay")}
        self.port, self.relay_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self.relay_url = f"wss://localhost:{self.relay_port}"
        self.certificate = folder / "cert.pem"
        self._running: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        self._database_url = database_url
        self._environment = clean_environment(
            DATABASE_URL=database_url,
            REDIS_URL=settings.REDIS_URL,
            SECRET_KEY="x" * 50,
            KEYCHAIN_KEYS="k1:" + base64.b64encode(bytes(32)).decode(),
            NOTIFYWEB_PUBLIC_URL=self.url,
            NOTIFYWEB_RELAY_PUBLIC_URL=self.relay_url,
            NOTIFYWEB_TRUSTED_PROXIES="1",
            # The dapps of this test are hosted here, on a loopback address.
            NOTIFYWEB_OUTBOUND_ALLOW="localhost",
            NOTIFYWEB_OUTBOUND_ALLOW_IN_PRODUCTION="localhost",
            NOTIFYWEB_LIMITS=LIMITS,
            SSL_CERT_FILE=str(self.certificate),
            PYTHONDONTWRITEBYTECODE="1",
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        )

    def open(self) -> None:
        self.manage("collectstatic", "--no-input", "-v", "0")
        self._run("deploy/process", "release-image")
        for name in PROCESSES:
            for number in range(2):
                self.start(name, number)
        self.start("beat", 0)
        self._start_nginx()
        wait_for("all components", lambda: self.get("/readyz") == 200)

    def close(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait(MAX_STOP_S)

    # Processes ------------------------------------------------------------

    def start(self, name: str, number: int) -> None:
        environment = self._environment | {
            "NOTIFYWEB_PORT": str(self._ports["web"][number]),
            "NOTIFYWEB_RELAY_PORT": str(self._ports["relay"][number]),
        }
        with (self.folder / f"{name}{number}.log").open("ab") as log:
            self._running[name, number] = subprocess.Popen(
                [self._tree / "deploy/process", name],
                cwd=self._tree,
                env=environment,
                stdout=log,
                stderr=log,
            )
        if name in self._ports:
            url = f"http://127.0.0.1:{self._ports[name][number]}/health"
            wait_for(f"{name} {number}", lambda: status_of(url) == 200)

    def replace(self, name: str, number: int) -> None:
        """Stop a process as an upgrade does, and start it again."""
        process = self._running.pop((name, number))
        process.terminate()
        process.wait(MAX_STOP_S)
        self.start(name, number)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, "manage.py", *arguments)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = self._environment | {
            "NOTIFYWEB_PORT": str(self._ports["web"][0]),
            "NOTIFYWEB_RELAY_PORT": str(self._ports["relay"][0]),
        }
        return subprocess.run(
            command,
            cwd=self._tree,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def _start_nginx(self) -> None:
        key = self.folder / "key.pem"
        subprocess.run(
            [  # whichever is installed
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
                *("-days", "90", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", str(key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        site = (BASE / "deploy" / "nginx.conf").read_text()
        for name, port in (("notify", self.port), ("relay.notify", self.relay_port)):
            # A name and a port of this machine; all else is as it is deployed.
            site, count = re.subn(
                rf"listen 443 ssl;(\s+)server_name {re.escape(name)}\.example;",
                rf"listen 127.0.0.1:{port} ssl;\1server_name localhost;",
                site,
            )
            assert count == 1
        for name, old in (("web", 8000), ("relay", 8080)):
            servers = "".join(f"server 127.0.0.1:{p};" for p in self._ports[name])
            assert f"server 127.0.0.1:{old};" in site
            site = site.replace(f"server 127.0.0.1:{old};", servers)
        site = site.replace("/etc/ssl/notify.example.pem", str(self.certificate))
        site = site.replace("/etc/ssl/notify.example.key", str(key))
        (self.folder / "site.conf").write_text(site)
        places = "".join(
            f"{name}_temp_path {self.folder}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        main = self.folder / "nginx.conf"
        main.write_text(
            f"daemon off;\npid {self.folder}/nginx.pid;\n"
            f"error_log {self.folder}/error.log;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{places}include {self.folder}/site.conf;\n}}\n"
        )
        self._running["nginx", 0] = subprocess.Popen(
            ["nginx", "-c", str(main), "-p", str(self.folder)]  # noqa: S607
        )

    # From outside ---------------------------------------------------------

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def get(self, path: str) -> int:
        return status_of(self.url + path, verify=self.trust)

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self._database_url) as connection:
            return connection.execute(statement).fetchall()

    def output(self) -> str:
        return "\n".join(log.read_text() for log in self.folder.glob("*.log"))


def status_of(url: str, *, verify: ssl.SSLContext | bool = True) -> int:
    """0 if there is no answer."""
    try:
        return httpx.get(url, trust_env=False, verify=verify, timeout=10).status_code
    except httpx.TransportError:
        return 0


@pytest.fixture
def deployment(image, database, redis_client, tmp_path):  # noqa: F811
    folder = tmp_path / "run"
    folder.mkdir()
    running = Deployment(folder, image, database)
    try:
        running.open()
        yield running
    finally:
        running.close()


class Sender(threading.Thread):
    """A dapp's backend that notifies all the time; every call has to be answered."""

    def __init__(self, url: str, account: str, dapp, trust: ssl.SSLContext) -> None:
        super().__init__()
        self.titles: list[str] = []
        self.failures: list[str] = []
        self._ending = threading.Event()
        self._url, self._account, self._dapp = url, account, dapp
        self._trust = trust

    def run(self) -> None:
        while not self._ending.wait(SEND_EVERY_S):
            self.send(f"Number {len(self.titles)}")

    def send(self, title: str) -> None:
        note = {"type": "a", "title": title, "body": "Hello"}
        try:
            answer = httpx.post(
                f"{self._url}/cast/{self._dapp.project_id}/notify",
                headers={"Authorization": f"Bearer {self._dapp.secret}"},
                json={"notification": note, "accounts": [self._account]},
                verify=self._trust,
                trust_env=False,
                timeout=60,
            )
            if answer.json().get("sent") != [self._account]:
                self.failures.append(f"{answer.status_code} {answer.text[:200]}")
        except (httpx.TransportError, ValueError) as error:
            self.failures.append(repr(error))
        self.titles.append(title)

    def stop(self) -> None:
        self._ending.set()
        self.join()


async def first_frame(
    deployment: Deployment, device: BrowserDevice
) -> dict[str, object]:
    async with (
        asyncio.timeout(30),
        websockets.connect(
            f"wss://localhost:{deployment.port}/ws/device/",
            additional_headers={"Cookie": device.cookies},
            origin=deployment.url,
            ssl=deployment.trust,
        ) as browser,
    ):
        resume = {"type": "resume", "generation": "none", "sequence": 0}
        await browser.send(json.dumps(resume))
        return json.loads(await browser.recv())


def test_two_of_each_behind_nginx_and_one_of_each_replaced(
    deployment,
    npm_packages,  # noqa: F811
):
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    with BrowserDevice(deployment.url, account, key, trust=deployment.trust) as device:
        device.sign_in()
        dapp = device.make_dapp("Proxied", {"a": "A"})
        other = device.make_dapp("For wallets", {"alerts": "Urgent", "news": "News"})

        # The doctor sees the proxy, its certificate and its WebSockets.
        report = json.loads(deployment.manage("doctor", "--json").stdout)
        wrong = [each for each in report["findings"] if each["level"] == "fault"]
        # The PostgreSQL of the tests is not durable, and this one is shared with them.
        assert [each["name"] for each in wrong] == ["postgres durability"], wrong
        states = {each["state"] for each in report["findings"]}
        assert "the proxy passes WebSockets" in states
        assert "NOTIFYWEB_RELAY_PUBLIC_URL answers" in states
        assert deployment.get("/metrics") == 404
        frame = asyncio.run(first_frame(deployment, device))
        assert frame["type"] == "refetch"

        # A released wallet takes the twenty steps through the proxy.
        with Scenario(
            "twenty-steps",
            (),
            {
                "TARGET_RELAY_URL": deployment.relay_url,
                "TARGET_KEYS_URL": deployment.url,
                "TARGET_HISTORY_URL": f"{deployment.url}/history",
                "TARGET_CAST_URL": f"{deployment.url}/cast",
                "DAPP_PROJECT_ID": other.project_id,
                "DAPP_SECRET": other.secret,
                "DAPP_URL": other.url,
                "DAPP_DOMAIN": other.url.removeprefix("https://"),
                "DAPP_TYPE": "alerts",
                "NODE_EXTRA_CA_CERTS": str(deployment.certificate),
            },
        ) as wallets:
            done = wallets.finish()
        assert done[-1] == "deletion reaches Wx and the Cast Server"

        # A rolling upgrade: one of each is replaced, then beat, while the backend sends.
        device.subscribe(dapp.url, ["a"])
        wait_for("the subscription", device.topics)

        def stored() -> Counter[str]:
            rows = deployment.rows(
                "SELECT title FROM subscriptions_notifymessagerecord"
            )
            return Counter(title for (title,) in rows)

        sender = Sender(deployment.url, account, dapp, deployment.trust)
        sender.start()
        try:
            for name in PROCESSES:
                deployment.replace(name, 0)
                title = f"After the other {name}"
                sender.send(title)
                wait_for(title, lambda title=title: title in stored())
                assert deployment.get("/signin") == 200
            deployment.replace("beat", 0)
        finally:
            sender.stop()
        assert sender.failures == []

        wanted = set(sender.titles)
        wait_for("all of them", lambda: wanted <= set(stored()))
        assert {title for title, count in stored().items() if count > 1} == set()
    with contextlib.suppress(FileNotFoundError):
        assert "Traceback" not in deployment.output()
