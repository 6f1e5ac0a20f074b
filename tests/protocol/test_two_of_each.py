"""Two of every process on one PostgreSQL and one Redis; then one of each is killed.

The two web processes have one public address, as behind a proxy; a browser reaches either
of them. Each gateway has the relay of its own, so that messages cross between the relays.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket

import httpx
import pytest
import websockets
from django.db import connection

from messaging.models import Party, PartyClient
from tests.browser_device import BrowserDevice, wait_for
from tests.messaging.conftest import free_port
from walletconnect.crypto.ethereum import address_of

pytestmark = pytest.mark.system

QUEUES = {
    "worker": ("prefork", "canary,messages,sweeps"),
    "outbound": ("threads", "canary-outbound,housekeeping,outbound"),
}


class Cluster:
    def __init__(self, start_program) -> None:
        self.web_ports = [free_port() for _ in range(2)]
        self.relay_ports = [free_port() for _ in range(2)]
        self._start = start_program
        self.programs = {}

    def start(self, name: str, number: int):
        relay = self.relay_ports[number]
        environment = {
            "NOTIFYWEB_PORT": str(self.web_ports[number]),
            "NOTIFYWEB_RELAY_PORT": str(relay),
            "NOTIFYWEB_PUBLIC_URL": f"http://localhost:{self.web_ports[0]}",
            "RELAY_URL": f"ws://localhost:{relay}",
            "NOTIFYWEB_OUTBOUND_ALLOW": "localhost",
        }
        if name in QUEUES:
            pool, queues = QUEUES[name]
            arguments = ("-c", "from celery.__main__ import main; main()", "-A")
            arguments += ("notifyweb", "worker", f"--pool={pool}", "--concurrency=2")
            arguments += (f"--queues={queues}", f"--hostname={name}{number}@here")
            arguments += ("--without-gossip", "--without-mingle")
        elif name == "beat":
            arguments = ("-c", "from celery.__main__ import main; main()", "-A")
            arguments += ("notifyweb", "beat")
        else:
            arguments = ({"web": "daphne"}.get(name, name),)
        program = self._start(*arguments, **environment)
        self.programs[name, number] = program
        return program

    def start_all(self) -> None:
        collected = self._start("collectstatic", "--noinput")
        wait_for("the static files", lambda: collected.code == 0)
        for number in range(2):
            for name in ("relay", "web"):
                self.start(name, number)
        for port in (*self.relay_ports, *self.web_ports):
            wait_for(f"port {port}", lambda port=port: answers(port))
        for number in range(2):
            for name in ("gateway", *QUEUES):
                self.start(name, number)
        self.start("beat", 0)

    @property
    def host(self) -> str:
        """The public one."""
        return f"localhost:{self.web_ports[0]}"

    def base_url(self, number: int) -> str:
        return f"http://localhost:{self.web_ports[number]}"

    def kill_first_of_each(self) -> None:
        for name in ("web", "relay", "gateway", *QUEUES):
            self.programs[name, 0].kill()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
        return True
    return False


def gateways_that_share(party: Party) -> int:
    """How many gateways hold lanes of the party, once every lane is held."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(DISTINCT pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND granted AND classid::int = %s",
            [{Party.WALLET: 7331, Party.CAST: 7332}[party]],
        )
        lanes, sessions = cursor.fetchone()
    return sessions if lanes == PartyClient.objects.filter(party=party).count() else 0


async def live_titles(devices: list[BrowserDevice], ports: list[int], act) -> list[str]:
    """The first frame of events that each browser socket gets after ``act``."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(
                websockets.connect(
                    f"ws://localhost:{port}/ws/device/",
                    # The proxy passes the public address on.
                    additional_headers={"Cookie": device.cookies},
                    origin=f"http://localhost:{ports[0]}",
                )
            )
            for device, port in zip(devices, ports, strict=True)
        ]
        for each in sockets:
            # An unknown generation is answered with the present one.
            resume = {"type": "resume", "generation": "none", "sequence": 0}
            await each.send(json.dumps(resume))
            present = json.loads(await each.recv())
            resume |= {"generation": present["generation"], "sequence": present["head"]}
            await each.send(json.dumps(resume))
        await asyncio.to_thread(act)

        async def first_with(text: str, each) -> str:
            async for frame in each:
                if text in frame:
                    return frame
            raise AssertionError("the socket was closed")

        async with asyncio.timeout(60):
            return [await first_with("Live on both", each) for each in sockets]


def test_two_of_each_serve_one_system_and_one_of_each_is_enough(
    transactional_db, start_program
):
    cluster = Cluster(start_program)
    cluster.start_all()
    for party in Party:
        wait_for(
            f"two gateways for {party}",
            lambda party=party: gateways_that_share(party) == 2,
        )
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    with (
        BrowserDevice(cluster.base_url(0), account, key) as one,
        BrowserDevice(cluster.base_url(1), account, key, host=cluster.host) as other,
    ):
        one.sign_in()
        other.sign_in()
        dapp = one.make_dapp("Shared", {"a": "A"})
        other.subscribe(dapp.url, ["a"])
        wait_for("the subscription", lambda: one.topics() and other.topics())

        def notify(number: int, title: str) -> None:
            """By the REST API of one of the web processes."""
            sent = httpx.post(
                f"{cluster.base_url(number)}/cast/{dapp.project_id}/notify",
                headers={
                    "Authorization": f"Bearer {dapp.secret}",
                    "Host": cluster.host,
                },
                json={
                    "notification": {"type": "a", "title": title, "body": "It works"},
                    "accounts": [account],
                },
                timeout=30,
            )
            assert sent.raise_for_status().json()["sent"] == [account]

        for number in range(2):
            notify(number, f"From {number}")
        for device in (one, other):
            wait_for(
                "both", lambda device=device: {"From 0", "From 1"} <= device.titles()
            )
        one.read("From 0")
        wait_for("the read state", lambda: "From 0" not in other.unread_titles())
        # Each browser has its socket at another web process.
        frames = asyncio.run(
            live_titles(
                [one, other], cluster.web_ports, lambda: notify(0, "Live on both")
            )
        )
        assert len(frames) == 2

        cluster.kill_first_of_each()
        for party in Party:
            wait_for(
                f"one gateway for {party}",
                lambda party=party: gateways_that_share(party) == 1,
            )
        notify(1, "One is enough")
        wait_for("the message", lambda: "One is enough" in other.titles())
        (topic,) = other.topics()
        other.unsubscribe(topic)
        wait_for("the end", lambda: not other.topics())
    log = "\n".join(each.log.read_text() for each in cluster.programs.values())
    assert "Traceback" not in log
