"""Any process may die in the middle of a subscribe: it still completes, exactly once."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.browser_device import BrowserDevice, wait_for
from walletconnect.crypto.ethereum import address_of

if TYPE_CHECKING:
    from tests.system import System

pytestmark = pytest.mark.system


@pytest.mark.parametrize("name", ["relay", "gateway", "worker", "web"])
def test_a_subscription_completes_once_although_a_process_is_killed(
    system: System, name: str
) -> None:
    made = system.manage("create_project", f"Killed {name}", "--type", "a:A", "--json")
    project = json.loads(made.stdout)
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    with BrowserDevice(system.base_url, account, key) as device:
        device.sign_in()
        device.subscribe(project["url"], ["a"])
        old = system.kill(name)
        system.wait_until_back(name, old)
        wait_for("the subscription", device.topics)

        (topic,) = device.topics()
        assert _subscribers(system, project) == [account]
        sent = system.manage(
            "notify", project["project_id"], "--account", account, "--type", "a",
            "--title", f"After {name}", "--body", "It still works", "--json",
        )  # fmt: skip
        assert json.loads(sent.stdout)["sent"] == [account]
        wait_for("the message", lambda: f"After {name}" in device.inbox())
        assert device.topics() == {topic}


def _subscribers(system: System, project: dict[str, str]) -> list[str]:
    status, body = system.get(
        f"/cast/{project['project_id']}/subscribers",
        Authorization=f"Bearer {project['project_secret']}",
    )
    assert status == 200
    found: list[str] = json.loads(body)
    return found
