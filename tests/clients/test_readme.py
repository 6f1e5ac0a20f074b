"""The wallet of README.md receives a notification."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.clients.node import HERE
from tests.system import BASE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser_device import OwnDapp
    from tests.system import System

# What the README leaves to the wallet: packages, an account, a signer. The package asks a
# built-in address for the types of a dapp (docs/interop.md).
BEFORE = """
import { createRequire } from "node:module";
const require = createRequire(process.env.PACKAGES);
const { Core } = require("core-2.12");
const { NotifyClient } = require("@walletconnect/notify-client");
const { Wallet } = require("@ethersproject/wallet");
const axios = createRequire(require.resolve("@walletconnect/notify-client"))("axios");
axios.interceptors.request.use((config) => ({
  ...config,
  url: config.url.replace("https://explorer-api.walletconnect.com", process.env.CAST_URL),
}));
const key = Wallet.createRandom();
const account = `eip155:1:${key.address}`;
const sign = (message) => key.signMessage(message);
"""
AFTER = """
console.log(account);
"""


@pytest.mark.system
def test_the_wallet_of_the_readme_receives_a_notification(
    system: System, dapp: OwnDapp, npm_packages: None, tmp_path: Path
) -> None:
    text = (BASE / "README.md").read_text()
    [block] = re.findall(r"^```js\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for written, here in (
        ("ws://localhost:8080", system.relay_url),
        ("http://localhost:8000", system.base_url),
        ("dapp.example", dapp.url.removeprefix("http://")),
    ):
        assert written in block
        block = block.replace(written, here)
    (tmp_path / "wallet.mjs").write_text(BEFORE + block + AFTER)
    wallet = subprocess.Popen(
        ["node", "wallet.mjs"],  # noqa: S607 - whichever is installed
        cwd=tmp_path,
        env={
            **system.environment,
            "PACKAGES": f"{HERE}/",
            "CAST_URL": f"{system.base_url}/cast",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert wallet.stdout is not None
        lines = iter(wallet.stdout)
        account = next(line for line in lines if line.startswith("eip155:")).strip()
        sent = httpx.post(
            f"{system.base_url}/cast/{dapp.project_id}/notify",
            headers={"Authorization": f"Bearer {dapp.secret}"},
            json={
                "notification": {"type": "alerts", "title": "Hello", "body": "World"},
                "accounts": [account],
            },
        )
        assert sent.json()["sent"] == [account]
        assert "Hello" in next(line for line in lines if "Hello" in line)
    finally:
        wallet.kill()
        wallet.wait()
        wallet.stdout.close()
