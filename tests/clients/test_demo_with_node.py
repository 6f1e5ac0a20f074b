"""``manage.py demo --with-node``: a wallet of npm packages, a browser device of ours."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from demonstration.node_wallet import SCRIPT, NodeWalletError, require_node
from walletconnect.notify.steps import Step

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system import System


@pytest.mark.system
def test_the_twenty_steps_between_strangers(system: System, npm_packages: None) -> None:
    done = system.manage("demo", "--with-node", "--json", timeout=240)
    sights = [json.loads(line) for line in done.stdout.splitlines() if line]
    shown = [sight for sight in sights if isinstance(sight["step"], int)]
    assert [sight["step"] for sight in shown] == list(Step)
    for sight in shown:
        assert sight["actor"] == Step(sight["step"]).actor
        datetime.fromisoformat(sight["at"])
    # What the wallet saw on its side of the relay is what the Cast Server saw on ours.
    wire = {Step(sight["step"]): sight["wire"] for sight in shown}
    for said, heard in (
        (Step.SEND_SUBSCRIBE_REQUEST, Step.RECEIVE_SUBSCRIBE_REQUEST),
        (Step.RESPOND, Step.RECEIVE_RESPONSE),
    ):
        assert wire[said]["messageId"] == wire[heard]["messageId"]
    derived = wire[Step.DERIVE_SYM_KEY_P]["notifyTopic"]
    assert derived == wire[Step.DERIVE_NOTIFY_TOPIC]["notifyTopic"]
    assert derived == wire[Step.STORE_SUBSCRIPTION]["key"]
    around = [
        (sight["step"], sight["actor"])
        for sight in sights
        if isinstance(sight["step"], str)
    ]
    assert around == [
        ("sign-in", "Wx"),
        ("sync", "Wx"),
        ("sign-in", "W1"),
        ("notify", "Cast Server"),
        ("message", "Wx"),
        ("message", "W1"),
        ("receipt", "Cast Server"),
    ]


@pytest.mark.system
def test_without_node_it_explains_what_to_install(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(system.environment, "PATH", "/nonexistent")
    done = system.manage("demo", "--with-node", check=False)
    assert done.returncode != 0
    assert "needs Node.js 20 or newer" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_packages_it_explains_how_to_install_them(
    tmp_path: Path, npm_packages: None
) -> None:
    (tmp_path / SCRIPT).parent.mkdir()
    (tmp_path / SCRIPT).touch()
    with pytest.raises(NodeWalletError, match=f"npm ci .*{tmp_path}"):
        require_node(tmp_path)
