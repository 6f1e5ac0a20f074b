"""Domains that never answer delay only the user who checks them."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.browser_device import BrowserDevice
from tests.subscriptions.world import Dapp
from walletconnect.crypto.ethereum import address_of

pytestmark = pytest.mark.system

PEOPLE = 5


@contextlib.contextmanager
def signed_in(system):
    key = os.urandom(32)
    account = f"eip155:1:{address_of(key)}"
    with BrowserDevice(system.base_url, account, key) as device:
        yield device.sign_in()


@pytest.fixture
def stuck():
    """The address of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield f"http://localhost:{server.getsockname()[1]}"


@pytest.fixture
def dapp():
    made = Dapp("checked")
    yield made
    made.close()


def test_a_fast_domain_is_shown_immediately(system, dapp):
    with signed_in(system) as device:
        began = time.monotonic()
        page = device.look_up(dapp.url)
        assert time.monotonic() - began < 5
    assert page.url.path == "/discover/dapp", "no detour over the running report"
    assert re.findall(r'name="type" value="([^"]*)"', page.text) == [
        "alerts",
        "news",
        "gm_hourly",
    ]


def test_slow_domains_delay_no_other_user(system, dapp, stuck):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(signed_in(system)) for _ in range(PEOPLE)]
        quick = stack.enter_context(signed_in(system))
        pool = stack.enter_context(ThreadPoolExecutor(3 * PEOPLE))
        waiting = [
            pool.submit(device.look_up, f"{stuck}/{number}")
            for device in slow
            for number in range(3)
        ]
        time.sleep(0.5)
        began = time.monotonic()
        page = quick.look_up(dapp.url)
        assert system.get("/healthz")[0] == 200
        assert "What may it send?" in page.text
        assert time.monotonic() - began < 5
        for each in waiting:
            running = each.result()
            assert running.status_code == 200
            assert re.fullmatch(r"/discover/check/[0-9a-f-]{36}", running.url.path)
            assert "not yet" in running.text
        # It ends at its deadlines, with instructions.
        device, path = slow[0], waiting[0].result().url.path
        until = time.monotonic() + 40
        while "not yet" in (text := device.page(path)):
            assert time.monotonic() < until
            time.sleep(0.2)
        assert "no whole answer within the deadline" in text
        assert "Check again" in text
