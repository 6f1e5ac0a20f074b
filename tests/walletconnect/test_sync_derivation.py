"""Store keys. Vectors: sync.json (sync-client 0.3.8 with core 2.10, bip39, bip32)."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walletconnect.people import BOB, W1
from tests.walletconnect.vectors import load
from walletconnect.crypto.ethereum import MAX_S, recover_eip191, sign_eip191
from walletconnect.crypto.hd import HARDENED, HdKey, mnemonic_of, seed_of
from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.sync.derivation import (
    NOTIFY_SUBSCRIPTION_STORE,
    _derivation_path,
    _name_slices,
    check_sync_signature,
    derive_store_keys,
    sync_message,
)

VECTORS = load("sync")
CASES = [pytest.param(case, id=case["account"]) for case in VECTORS["cases"]]
STORES = [
    pytest.param(store, id=repr(store["store_name"]))
    for store in VECTORS["cases"][0]["stores"]
]


@pytest.mark.parametrize("case", CASES)
def test_the_message_and_its_signature_are_the_wallets(case):
    account = AccountId.parse(case["account"])
    assert sync_message(account) == case["message"]
    assert sync_message(account).encode().hex() == case["message_utf8_hex"]
    private_key = bytes.fromhex(case["eth_private_key"][2:])
    assert sign_eip191(case["message"], private_key) == case["signature"]
    check_sync_signature(account, case["signature"])


@pytest.mark.parametrize("case", CASES)
def test_every_stage_of_the_derivation_is_the_clients(case):
    entropy = hashlib.sha256(case["signature"].encode()).digest()
    assert entropy.hex() == case["entropy"]
    assert mnemonic_of(entropy) == case["mnemonic"]
    seed = seed_of(case["mnemonic"])
    assert seed.hex() == case["bip39_seed"]
    root = HdKey.from_seed(seed)
    assert root.private_key.hex() == case["bip32_master_private"]
    assert root.chain_code.hex() == case["bip32_master_chain_code"]


@pytest.mark.parametrize("case", CASES)
def test_every_store_of_every_account_has_the_clients_key(case):
    names = [store["store_name"] for store in case["stores"] if "store_key" in store]
    keys = derive_store_keys(case["signature"], names)
    for store in case["stores"]:
        if "client_error" not in store:
            key = keys[store["store_name"]]
            assert key.hex() == store["store_key"]
            assert key.topic == store["client_topic"]


@pytest.mark.parametrize("store", STORES)
def test_the_name_is_cut_as_javascript_cuts_it(store):
    name = store["store_name"]
    assert name.encode().hex() == store["store_name_utf8_hex"]
    if "client_error" in store:
        with pytest.raises(LocalProtocolError):
            _derivation_path(name)
        return
    assert _name_slices(name) == (store["slices"] or ["0"])
    path = _derivation_path(name)
    assert path[:3] == (77 + HARDENED, HARDENED, 0)
    assert [str(index) for index in path[3:]] == store["slice_values"]
    # The vectors write an index beyond 2**31 as it is, without an apostrophe.
    assert "/".join(["m/77'/0'/0", *map(str, path[3:])]) == store["path"]


def test_the_specs_own_example_comes_out():
    example = VECTORS["spec_example"]
    printed = example["spec_prints"]
    check_sync_signature(AccountId.parse(example["account"]), example["signature"])
    key = derive_store_keys(example["signature"], [example["store_name"]])[
        example["store_name"]
    ]
    assert (
        hashlib.sha256(example["signature"].encode()).hexdigest() == printed["entropy"]
    )
    assert key.hex() == example["client_store_key"] == printed["store_key"]
    assert key.topic == example["client_topic"] == printed["store_topic"]


def test_the_path_of_the_notify_store():
    assert _derivation_path(NOTIFY_SUBSCRIPTION_STORE)[3:] == (
        1668246830, 2002873452, 1702126447, 1852728675, 1949199983, 1953064569,
        778989428, 1768323411, 1969386339, 1919512692, 6909806,
    )  # fmt: skip


def signature_of(person) -> str:
    return sign_eip191(sync_message(person.account), person.private_key)


def with_the_other_s(signature: str) -> str:
    """A signature that verifies as well: -s, and the other v."""
    order = 2 * MAX_S + 1
    s = order - int(signature[66:130], 16)
    return f"{signature[:66]}{s:064x}{55 - int(signature[130:], 16):02x}"


SIGNATURE = signature_of(W1)


@pytest.mark.parametrize(
    "signature",
    [
        SIGNATURE.upper(),
        SIGNATURE.upper().replace("0X", "0x"),
        SIGNATURE[2:],
        SIGNATURE[:-2] + f"{int(SIGNATURE[-2:], 16) - 27:02x}",
        with_the_other_s(SIGNATURE),
        SIGNATURE + "00",
        SIGNATURE[:-1],
        SIGNATURE + "\n",
        "",
    ],
)
def test_only_the_canonical_text_of_a_signature_is_accepted(signature):
    # Every other text would be another entropy, so another store.
    with pytest.raises(RemoteProtocolError) as caught:
        check_sync_signature(W1.account, signature)
    assert caught.value.code is ErrorCode.MALFORMED


def test_a_malleable_signature_is_refused():
    message = sync_message(W1.account)
    other = with_the_other_s(SIGNATURE)
    assert recover_eip191(message, other) == recover_eip191(message, SIGNATURE)


def test_the_signature_must_be_the_accounts():
    with pytest.raises(RemoteProtocolError) as caught:
        check_sync_signature(W1.account, signature_of(BOB))
    assert caught.value.code is ErrorCode.UNAUTHENTIC
    with pytest.raises(RemoteProtocolError):
        check_sync_signature(W1.account, sign_eip191("login", W1.private_key))


def test_accounts_of_other_chains_cannot_sync():
    with pytest.raises(RemoteProtocolError) as caught:
        check_sync_signature(AccountId.parse("solana:x:7S3P4HxJ"), SIGNATURE)
    assert caught.value.code is ErrorCode.UNSUPPORTED


def test_repr_hides_the_keys_of_a_node():
    node = HdKey.from_seed(bytes(64))
    assert node.private_key.hex() not in repr(node)
    assert repr(node.private_key) not in repr(node)


@given(st.text(max_size=20))
def test_any_name_has_a_path_or_is_a_local_error(name):
    try:
        path = _derivation_path(name)
    except LocalProtocolError:
        return
    assert all(0 <= index < 2**32 for index in path)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_every_ascii_name_has_a_path(name):
    assert len(_derivation_path(name)) == 3 + max(1, -(-len(name) // 4))
