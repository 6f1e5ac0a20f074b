"""Makes the npm packages ready, and a dapp of its own for every test."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.clients.node import HERE, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        ["npm", "ci", "--omit=optional", "--no-audit", "--no-fund"],
        cwd=HERE,
        check=True,
        capture_output=True,
    )
    STAMP.write_text(digest)


@dataclass(frozen=True)
class Dapp:
    """A project on the Cast Server under test."""

    project_id: str
    secret: str
    slug: str
    url: str


@pytest.fixture
def dapp(system: System, request: pytest.FixtureRequest) -> Dapp:
    name = request.node.name.replace("_", " ")[:60]
    types = ["--type", "alerts:Something urgent", "--type", "news:News"]
    done = system.manage("create_project", name, *types, "--json")
    made = json.loads(done.stdout)
    return Dapp(made["project_id"], made["project_secret"], made["slug"], made["url"])


@pytest.fixture
def scenario(
    system: System, npm_packages: None
) -> Iterator[Callable[..., Scenario]]:
    """``scenario("relay", "2.10")`` starts it against the system; ended with the test."""
    with ExitStack() as stack:

        def start(
            name: str, *arguments: str, dapp: Dapp | None = None, **environment: str
        ) -> Scenario:
            target = {
                "TARGET_RELAY_URL": system.relay_url,
                "TARGET_KEYS_URL": system.base_url,
                "TARGET_HISTORY_URL": f"{system.base_url}/history",
                "TARGET_CAST_URL": f"{system.base_url}/cast",
            }
            running = Scenario(
                name, arguments, target | _words_of(dapp) | environment
            )
            return stack.enter_context(running)

        yield start


def _words_of(dapp: Dapp | None) -> dict[str, str]:
    if dapp is None:
        return {}
    return {
        "DAPP_PROJECT_ID": dapp.project_id,
        "DAPP_SECRET": dapp.secret,
        "DAPP_URL": dapp.url,
        "DAPP_DOMAIN": dapp.url.removeprefix("http://"),
        "DAPP_TYPE": "alerts",
    }
