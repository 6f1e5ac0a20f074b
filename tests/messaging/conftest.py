"""What the tests of the relay's clients share: keys, handlers, a gateway in this process,
and real processes that may be killed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import quote

import pytest
from django.conf import settings

from common import entropy
from keychain import services as keychain
from messaging import dispatch, outbox, services
from messaging.models import InboxMessage, OutboxMessage, Party
from relayserver.connections.listener import Listener
from relayserver.delivery.hub import Hub
from tests.messaging.recording_relay import RecordingRelay
from walletconnect.crypto.envelope import seal
from walletconnect.crypto.keys import KeyPair, SymKey, derive_sym_key
from walletconnect.relay.messages import Publication
from walletconnect.relay.rpc import JsonRpcRequest

BASE = Path(__file__).resolve().parents[2]
TAG = 5900
OTHER_TAG = 5902


def wait_for(condition, *, seconds=60.0, what="the condition"):
    """Poll until ``condition`` is true; what it returned."""
    until = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < until, f"{what} did not come true in {seconds} s"
        time.sleep(0.02)


# --- keys and messages ------------------------------------------------------------------


@pytest.fixture
def canary(db):
    keychain.ensure_canary()


def make_key(party=Party.WALLET) -> SymKey:
    key = SymKey(entropy.key_bytes())
    keychain.put_sym_keys(keychain.Holder(party.value), [key])
    return key


def envelope(key: SymKey, number: int = 1, **params) -> str:
    request = JsonRpcRequest(number, "test_call", {"number": number, **params})
    return seal(request.to_json(), key, iv=entropy.iv())


def first_contact(pair: KeyPair, number: int = 1) -> tuple[str, SymKey]:
    """A type 1 envelope for the owner of ``pair``, and the key S of both sides."""
    ours = KeyPair.from_private(entropy.key_bytes())
    key = derive_sym_key(ours, pair.public_key)
    request = JsonRpcRequest(number, "test_call", {"number": number})
    text = seal(request.to_json(), key, iv=entropy.iv(), sender=ours.public_key)
    return text, key


def received(key_or_topic, message: str, tag: int = TAG) -> services.Received:
    topic = getattr(key_or_topic, "topic", key_or_topic)
    return services.Received(topic, message, tag, int(time.time() * 1000))


def publication(key: SymKey, number: int = 1, **changes) -> Publication:
    values = {"tag": TAG, "ttl": 300} | changes
    return Publication(key.topic, envelope(key, number), **values)


def publish(party: Party, publications: list[Publication]) -> list[OutboxMessage]:
    """Into the outbox; the rows."""
    pks = outbox.publish_all(party, publications)
    return list(OutboxMessage.objects.filter(pk__in=pks).order_by("id"))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def states(model=InboxMessage) -> list[str]:
    return list(model.objects.order_by("id").values_list("state", flat=True))


def published_numbers(relay: RecordingRelay, *keys: SymKey) -> list[tuple[str, int]]:
    """(topic, JSON-RPC id) of what the relay took, in its order."""
    from walletconnect.crypto.envelope import open_envelope
    from walletconnect.relay import rpc

    by_topic = {key.topic: key for key in keys}
    return [
        (
            each["topic"],
            rpc.parse(open_envelope(each["message"], by_topic[each["topic"]])).id,
        )
        for each in relay.published
    ]


# --- handlers ---------------------------------------------------------------------------


class Handler:
    """A handler that records its messages and returns a configured answer."""

    def __init__(self, tag: int = TAG, party: Party = Party.WALLET) -> None:
        self.party, self.tag = party, tag
        self.runs: list[list[int]] = []
        self.prepared: list[list[int]] = []
        self.seen: list[dispatch.Inbound] = []
        self.on_run = lambda messages: None
        self.on_prepare = lambda messages: None
        # Where the effect goes: one outbox row for every message that was handled.
        self.effect_key: SymKey | None = None

    def handle(self, messages):
        self.runs.append([message.payload.id for message in messages])
        found = self.on_run(messages)
        self.seen += messages
        if self.effect_key is not None:
            outbox.publish_all(
                self.party,
                [publication(self.effect_key, each.payload.id) for each in messages],
            )
        return found

    def prepare(self, messages):
        self.prepared.append([message.payload.id for message in messages])
        return self.on_prepare(messages)

    def numbers(self) -> list[int]:
        return [message.payload.id for message in self.seen]


@pytest.fixture
def make_handler():
    made = []

    def make(tag: int = TAG, party: Party = Party.WALLET) -> Handler:
        handler = Handler(tag, party)
        dispatch.handles(party, tag, prepare=handler.prepare)(handler.handle)
        made.append(handler)
        return handler

    yield make
    for handler in made:
        dispatch._routes.pop((handler.party, handler.tag))


@pytest.fixture
def handler(make_handler) -> Handler:
    return make_handler()


def effects() -> int:
    return OutboxMessage.objects.count()


# --- relays and gateways ----------------------------------------------------------------


@pytest.fixture
def recording_relay():
    with RecordingRelay() as relay:
        yield relay


class LocalGateway:
    """The gateway in a thread of this process, against any relay."""

    def __init__(self, url: str, parties=(Party.WALLET,)) -> None:
        self._url, self._parties = url, parties
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self.gateway.stop)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the gateway did not stop"
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._error = error
            self._started.set()

    async def _main(self) -> None:
        from messaging.gateway import run

        old = settings.RELAY_URL
        settings.RELAY_URL = self._url
        try:
            self.gateway = run.Gateway(self._parties)
        finally:
            settings.RELAY_URL = old
        self._loop = asyncio.get_running_loop()
        self._started.set()
        await self.gateway.run()


@pytest.fixture
def start_gateway(transactional_db, redis_client):
    """Start gateways in this process; they are stopped before the database is emptied."""
    keychain.ensure_canary()
    running = []

    def start(url: str, parties=(Party.WALLET,)) -> LocalGateway:
        gateway = LocalGateway(url, parties)
        gateway.start()
        running.append(gateway)
        return gateway

    yield start
    for gateway in running:
        if gateway._thread.is_alive():
            gateway.stop()


def test_environment(**changes: str) -> dict[str, str]:
    """The environment of a process of ours that works on this test's services."""
    database = settings.DATABASES["default"]
    host = quote(str(database["HOST"]), safe="")
    values = {
        "DJANGO_SETTINGS_MODULE": "notifyweb.settings",
        "DATABASE_URL": f"postgresql://{database['USER']}@{host}:{database['PORT']}/"
        f"{database['NAME']}",
        "REDIS_URL": settings.REDIS_URL,
        "SECRET_KEY": "s" * 50,
        "KEYCHAIN_KEYS": ",".join(settings.KEYCHAIN_KEYS),
        "NOTIFYWEB_DEMO": "1",
        "PROJECT_ID": "test",
        "NOTIFYWEB_SUPERVISED": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(BASE),
    }
    return {**os.environ, **values, **changes}


test_environment.__test__ = False


class Program:
    """A process of ours, with its output in a file."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=BASE,
                env=test_environment(**environment),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def code(self) -> int | None:
        return self._popen.poll()

    def kill(self) -> None:
        """At once, with whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(10)

    def freeze(self) -> None:
        os.killpg(self._popen.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self._popen.pid, signal.SIGCONT)

    def send_signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def wait(self) -> int:
        return self._popen.wait(20)

    def terminate(self) -> int:
        self._popen.terminate()
        return self.wait()

    def wait_killed(self) -> None:
        """Wait until a failpoint ended it."""
        assert self._popen.wait(30) == -signal.SIGKILL, self.log.read_text()


@pytest.fixture
def start_program(transactional_db, redis_client, tmp_path):
    keychain.ensure_canary()
    running = []

    def start(*arguments: str, **environment: str) -> Program:
        if not arguments[0].startswith("-"):
            arguments = ("manage.py", *arguments)
        log = tmp_path / f"{len(running)}.log"
        program = Program(log, *arguments, **environment)
        running.append(program)
        return program

    yield start
    for program in running:
        program.kill()


class LocalRelay:
    """The real embedded relay in a thread of this process."""

    def __init__(self) -> None:
        self._port: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"ws://127.0.0.1:{self._port.result(20)}"

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._port.done():
                raise
            self._port.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        hub = Hub(
            database=settings.DATABASES["default"],
            redis_url=settings.REDIS_URL,
            limits=settings.LIMITS,
        )
        listener = Listener(hub)
        await hub.open()
        self._port.set_result(await listener.open("127.0.0.1", 0))
        await self._stop.wait()
        await hub.finish()
        await listener.close()
        await hub.close()


@pytest.fixture
def local_relay(transactional_db, redis_client):
    """The address of a real relay."""
    with LocalRelay() as url:
        yield url


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def start_relay(start_program):
    """The real embedded relay; ``start_relay(port)`` starts it again on its port."""

    def start(port: int | None = None) -> tuple[Program, str]:
        port = port or free_port()
        relay = start_program("relay", "--port", str(port))

        def is_up() -> bool:
            assert relay.code is None, relay.log.read_text()
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), 1),
            ):
                return True
            return False

        wait_for(is_up, what="the relay's port")
        return relay, f"ws://127.0.0.1:{port}"

    return start
