"""Makes the npm packages ready, and a dapp of its own for every test."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.browser_device import BrowserDevice
from tests.clients.node import HERE, Scenario
from walletconnect.crypto.ethereum import address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.browser_device import OwnDapp
    from tests.system import System

STAMP = HERE / "node_modules" / ".installed"


@pytest.fixture(scope="session")
def npm_packages() -> None:
    """Install what the lock file says, once per lock file. Never skipped in CI."""
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to run the npm clients: install Node.js 20 or newer")
        pytest.skip("needs Node.js 20 or newer with npm")
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == digest:
        return
    subprocess.run(
        # Whichever npm is installed.
        ["npm", "ci", "--omit=optional", "--no-audit", "--no-fund"],  # noqa: S607
        cwd=HERE,
        check=True,
        capture_output=True,
    )
    STAMP.write_text(digest)


@pytest.fixture(scope="session")
def owner(system: System) -> Iterator[BrowserDevice]:
    """Somebody at the console who owns the dapps of the tests."""
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    with BrowserDevice(system.base_url, account, key) as person:
        yield person.sign_in()


@pytest.fixture
def dapp(owner: BrowserDevice, request: pytest.FixtureRequest) -> OwnDapp:
    name = request.node.name.replace("_", " ")[:60]
    return owner.make_dapp(name, {"alerts": "Something urgent", "news": "News"})


@pytest.fixture
def scenario(system: System, npm_packages: None) -> Iterator[Callable[..., Scenario]]:
    """``scenario("relay", "2.10")`` starts it against the system; ended with the test."""
    with ExitStack() as stack:

        def start(
            name: str,
            *arguments: str,
            dapp: OwnDapp | None = None,
            other_dapp: OwnDapp | None = None,
            **environment: str,
        ) -> Scenario:
            target = {
                "TARGET_RELAY_URL": system.relay_url,
                "TARGET_KEYS_URL": system.base_url,
                "TARGET_HISTORY_URL": f"{system.base_url}/history",
                "TARGET_CAST_URL": f"{system.base_url}/cast",
            }
            target |= _words_of(dapp, "DAPP") | _words_of(other_dapp, "OTHER_DAPP")
            running = Scenario(name, arguments, target | environment)
            return stack.enter_context(running)

        yield start


def _words_of(dapp: OwnDapp | None, prefix: str) -> dict[str, str]:
    if dapp is None:
        return {}
    return {
        f"{prefix}_PROJECT_ID": dapp.project_id,
        f"{prefix}_SECRET": dapp.secret,
        f"{prefix}_URL": dapp.url,
        f"{prefix}_DOMAIN": dapp.url.removeprefix("http://"),
        f"{prefix}_TYPE": "alerts",
    }
