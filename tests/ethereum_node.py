"""A JSON-RPC node with a real EVM (py-evm), and smart-contract wallets on it.

The wallets are a few instructions each. ``ACCEPTING`` accepts a signature whose first word
is the hash, and reverts otherwise; ``REFUSING`` always returns 0xffffffff.
"""

from __future__ import annotations

import contextlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from eth import constants
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.exceptions import Revert
from eth.vm.forks import ShanghaiVM
from eth.vm.spoof import SpoofTransaction
from eth_hash.auto import keccak

from walletconnect.crypto.ethereum import checksum_address

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC_6492 = bytes.fromhex("6492" * 16)
# CALLDATALOAD(4) == CALLDATALOAD(100) ? return 0x1626ba7e : revert
ACCEPTING_CODE = bytes.fromhex(
    "6004356064351460" + "0f" + "5760006000fd5b631626ba7e60e01b60005260206000f3"
)
REFUSING_CODE = bytes.fromhex("63ffffffff60e01b60005260206000f3")
# Creates the calldata as a contract with CREATE2 and salt 0.
FACTORY_CODE = bytes.fromhex("366000600037" + "60003660006000f5" + "60005260206000f3")
ACCEPTING = "0x" + "a1" * 20
REFUSING = "0x" + "b2" * 20
FACTORY = "0x" + "c3" * 20
# Copies the wallet's code, which follows it, to memory and returns it.
INIT_CODE = (
    bytes.fromhex(
        f"60{len(ACCEPTING_CODE):02x}600c60003960{len(ACCEPTING_CODE):02x}6000f3"
    )
    + ACCEPTING_CODE
)
COUNTERFACTUAL = (
    "0x"
    + keccak(b"\xff" + bytes.fromhex(FACTORY[2:]) + bytes(32) + keccak(INIT_CODE))[
        12:
    ].hex()
)


def account_on(chain_id: int, address: str) -> str:
    return f"eip155:{chain_id}:{checksum_address(address)}"


def deploying(signature: bytes) -> bytes:
    """The EIP-6492 form: the factory, its call data and the signature."""

    def padded(content: bytes) -> bytes:
        length = len(content).to_bytes(32, "big")
        return length + content + bytes(-len(content) % 32)

    calldata = padded(INIT_CODE)
    return b"".join(
        (
            bytes.fromhex(FACTORY[2:]).rjust(32, b"\0"),
            (96).to_bytes(32, "big"),
            (96 + len(calldata)).to_bytes(32, "big"),
            calldata,
            padded(signature),
            MAGIC_6492,
        )
    )


def _chain() -> MiningChain:
    chain = MiningChain.configure(
        "TestChain", vm_configuration=((constants.GENESIS_BLOCK_NUMBER, ShanghaiVM),)
    )
    codes = {ACCEPTING: ACCEPTING_CODE, REFUSING: REFUSING_CODE, FACTORY: FACTORY_CODE}
    state = {
        bytes.fromhex(address[2:]): {
            "balance": 0,
            "nonce": 1,
            "code": code,
            "storage": {},
        }
        for address, code in codes.items()
    }
    return chain.from_genesis(
        AtomicDB(), {"difficulty": 0, "gas_limit": 30_000_000}, state
    )


@dataclass
class Node:
    """``answers`` replaces the next answers by bytes; ``calls`` are what was asked."""

    url: str = ""
    chain_id: int = 1
    status: int = 200
    answers: list[bytes] = field(default_factory=list)
    calls: list[dict] = field(default_factory=list)
    # Set once a request has arrived.
    asked: threading.Event = field(default_factory=threading.Event)
    # Set while answers are to be given; cleared, requests hang.
    answering: threading.Event = field(default_factory=threading.Event)
    chain: MiningChain = field(default_factory=_chain)

    @property
    def methods(self) -> list[str]:
        return [call["method"] for call in self.calls]

    def answer(self, call: dict) -> bytes:
        self.calls.append(call)
        if self.answers:
            return self.answers.pop(0)
        if call["method"] == "eth_chainId":
            return self._reply(call, result=hex(self.chain_id))
        arguments, block = call["params"]
        assert call["method"] == "eth_call"
        assert block == "latest"
        try:
            output = self._run(bytes.fromhex(arguments["data"][2:]))
        except Revert:
            return self._reply(call, error={"code": 3, "message": "execution reverted"})
        return self._reply(call, result="0x" + output.hex())

    def _run(self, creation: bytes) -> bytes:
        vm = self.chain.get_vm()
        transaction = SpoofTransaction(
            vm.create_unsigned_transaction(
                nonce=0,
                gas_price=0,
                gas=10_000_000,
                to=constants.CREATE_CONTRACT_ADDRESS,
                value=0,
                data=creation,
            ),
            from_=b"\x77" * 20,
        )
        header = self.chain.get_canonical_head()
        return self.chain.get_transaction_result(transaction, header)

    def _reply(self, call: dict, **members: object) -> bytes:
        return json.dumps({"jsonrpc": "2.0", "id": call["id"], **members}).encode()


@contextmanager
def running_node() -> Iterator[Node]:
    node = Node()
    node.answering.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            call = json.loads(self.rfile.read(length))
            node.asked.set()
            node.answering.wait(30)
            content = node.answer(call)
            self.send_response(node.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            # A client that has read enough closes the connection.
            with contextlib.suppress(OSError):
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    node.url = f"http://localhost:{http.server_port}"
    yield node
    node.answering.set()
    http.shutdown()
    thread.join()
    http.server_close()
