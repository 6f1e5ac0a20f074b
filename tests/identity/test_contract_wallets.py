"""Smart-contract wallets: their chain decides, and only its answer counts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import Account
from common import clock
from common.work_queue import session_pid
from identity import services as identity
from identity.models import ContractProof, ContractWallet, IdentityRegistration
from identity.services import (
    ChainUnavailable,
    KeysServerUnavailable,
    MalformedSignature,
    NoChainEndpoint,
    SignatureRefused,
    WrongSigner,
    contract_wallets,
)
from tests import ethereum_node
from tests.cacaos import identity_payload
from tests.ethereum_node import (
    ACCEPTING,
    COUNTERFACTUAL,
    REFUSING,
    account_on,
    deploying,
)
from tests.identity.conftest import KEYS_SERVER, NONCE, identity_key, send
from tests.people import ALICE, BOB, FIREFOX_MAC, ORIGIN, begin, new_session
from tests.snapshots import rows_of
from walletconnect.crypto.ethereum import personal_digest
from walletconnect.identity.cacao import EIP1271, Cacao, build_message
from walletconnect.identity.did import AccountId

pytestmark = pytest.mark.django_db

KEY, OTHER = identity_key(1), identity_key(2)
SUCCESS = (200, {"status": "SUCCESS", "error": None, "value": None})
NOW = "2023-08-09T12:00:00.000Z"
VIEM_SHA256 = "e984758e9a4e2c29443e72990faf5314f54ee13b935452f5a174a19379186a84"


@pytest.fixture
def node(settings):
    with ethereum_node.running_node() as node:
        settings.RPC_URLS = {1: node.url}
        yield node


def contract_cacao(
    account=ACCEPTING, *, chain=1, key=KEY, wrap=bytes, signature=None, **changes
):
    """The CACAO of a wallet; by default with the signature that ``ACCEPTING`` accepts."""
    payload = identity_payload(
        AccountId.parse(account_on(chain, account)),
        identity_key=key.did,
        keys_server_url=KEYS_SERVER,
        nonce=NONCE,
        now=clock.now_s(),
    )
    # With a statement the message has one text and not two.
    changes = {"statement": "I agree."} | changes
    payload = dataclasses.replace(payload, **changes)
    text = signature or wrap(personal_digest(build_message(payload)))
    return Cacao.signed(payload, "0x" + text.hex(), EIP1271)


def register(client, cacao):
    return send(client, "POST", "/identity", {"cacao": cacao.to_value()})


def refuses(client, cacao, status):
    """The registration fails with ``status``; returns the error's text."""
    before = rows_of("identity", "accounts")
    found, answer = register(client, cacao)
    assert (found, answer["error"]["name"]) == (status, "cacao")
    after = rows_of("identity", "accounts")
    assert without_proofs(after) == without_proofs(before)
    return answer["error"]["message"]


def without_proofs(rows):
    return {name: found for name, found in rows.items() if "contractproof" not in name}


def resolve(asked=((KEY.did, KEYS_SERVER),)):
    return set(identity.resolve_identity(asked))


# --- the call -------------------------------------------------------------------------


def test_the_validator_is_the_published_one():
    content = contract_wallets.VALIDATOR_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == VIEM_SHA256


def test_the_call_is_validator_and_arguments(client, node):
    cacao = contract_cacao()
    register(client, cacao)
    chain, call = node.calls
    assert chain == {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    arguments, block = call["params"]
    assert (call["method"], block, set(arguments)) == ("eth_call", "latest", {"data"})
    digest = personal_digest(build_message(cacao.payload)).hex()
    assert arguments["data"] == "".join(
        (
            "0x" + contract_wallets.validator().hex(),
            ACCEPTING[2:].rjust(64, "0"),
            digest,
            f"{0x60:064x}",
            f"{32:064x}",
            digest,
        )
    )


# --- the Keys Server ------------------------------------------------------------------


def test_a_wallet_that_accepts_is_registered_and_resolved(client, node):
    cacao = contract_cacao()
    assert register(client, cacao) == SUCCESS
    answer = client.get("/identity", {"publicKey": KEY.did.removeprefix("did:key:")})
    assert answer.json()["value"]["cacao"] == cacao.to_value()
    found = identity.resolve_identity([(KEY.did, KEYS_SERVER)])[KEY.did]
    found.verify_signer(KEY.did, cacao.account, now=clock.now_s())
    assert identity.known_identity(KEY.did) == cacao


def test_a_counterfactual_wallet_is_registered(client, node):
    assert register(client, contract_cacao(COUNTERFACTUAL, wrap=deploying)) == SUCCESS


@pytest.mark.parametrize(
    ("account", "signature"),
    [
        (REFUSING, b"\x01" * 65),
        (ACCEPTING, b"\x01" * 32),
        (ACCEPTING, b"\x01"),
        (COUNTERFACTUAL, deploying(b"\x01" * 32)),
        # Not deployed, and without the deployment that EIP-6492 wants.
        (COUNTERFACTUAL, b"\x01" * 32),
        ("0x" + "d4" * 20, b"\x01" * 65),
    ],
)
def test_a_wallet_that_does_not_accept_is_refused(client, node, account, signature):
    cacao = contract_cacao(account, signature=signature)
    assert "does not accept" in refuses(client, cacao, 400)
    assert not ContractWallet.objects.exists()


def test_a_changed_text_is_refused(client, node):
    cacao = contract_cacao()
    assert register(client, cacao) == SUCCESS
    value = cacao.to_value()
    value["p"]["nonce"] = "1" * 64
    assert "does not accept" in refuses(client, Cacao.from_value(value), 400)


def test_without_an_endpoint_the_refusal_names_the_setting(client, settings):
    settings.RPC_URLS = {10: "http://localhost:1"}
    text = refuses(client, contract_cacao(), 400)
    assert "chain 1" in text
    assert "NOTIFYWEB_RPC_URLS" in text


def test_a_malformed_signature_asks_nothing(client, node):
    value = contract_cacao().to_value()
    for signature in ("0x", "0x1", "zz", "0x" + "00" * 8193, "11" * 65):
        value["s"]["s"] = signature
        assert send(client, "POST", "/identity", {"cacao": value})[0] == 400
    assert not node.calls


def test_an_expired_cacao_asks_nothing(client, node):
    cacao = contract_cacao(exp="2020-01-01T00:00:00Z")
    assert "expired" in refuses(client, cacao, 400)
    assert not node.calls


def test_an_address_belongs_to_the_first_chain_that_accepted(client, node, settings):
    assert register(client, contract_cacao()) == SUCCESS
    with ethereum_node.running_node() as other:
        other.chain_id = 10
        settings.RPC_URLS = {1: node.url, 10: other.url}
        cacao = contract_cacao(chain=10, key=OTHER)
        assert "another chain" in refuses(client, cacao, 400)
        assert other.methods == ["eth_chainId", "eth_call"]


def test_a_stranger_on_another_chain_neither_displaces_nor_joins(
    client, node, settings
):
    """Whatever they try: a registration, a sign-in, a CACAO that a message waits for."""
    device = sign_in(ACCEPTING, bytes)
    with ethereum_node.running_node() as other:
        other.chain_id = 10
        settings.RPC_URLS = {1: node.url, 10: other.url}
        assert "another chain" in refuses(
            client, contract_cacao(chain=10, key=OTHER), 400
        )
        with pytest.raises(MalformedSignature):
            sign_in(ACCEPTING, bytes, chain=10)
        cacao = contract_cacao(chain=10, key=OTHER, nonce="5" * 64)
        contract_wallets.check_later([cacao.contract_check])
        identity.check_contracts()
        assert not contract_wallets.KnownAnswers([cacao.contract_check]).accepted
        device.refresh_from_db()
        assert device.revoked_at is None
        # The first one goes on.
        assert sign_in(ACCEPTING, bytes).user_id == device.user_id


def test_the_operator_moves_an_address_to_another_chain(client, node, settings, capsys):
    device = sign_in(ACCEPTING, bytes)
    with ethereum_node.running_node() as other:
        other.chain_id = 10
        settings.RPC_URLS = {1: node.url, 10: other.url}
        with pytest.raises(MalformedSignature):
            sign_in(ACCEPTING, bytes, chain=10)
        call_command("contract_wallet", ACCEPTING, chain=10)
        assert capsys.readouterr().out == "Moved to chain 10. Devices signed out: 1.\n"
        device.refresh_from_db()
        assert device.revoked_at is not None
        with pytest.raises(MalformedSignature):
            sign_in(ACCEPTING, bytes)
        assert sign_in(ACCEPTING, bytes, chain=10).user_id == device.user_id
    call_command("contract_wallet", ACCEPTING.lower())
    assert capsys.readouterr().out.startswith("chain 10, since ")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["0x12"], "40 hexadecimal digits"),
        ([ACCEPTING, "--chain", "0"], "a number from 1"),
        ([ACCEPTING], "has signed here"),
    ],
)
def test_a_move_needs_an_address_and_a_chain(arguments, fault):
    with pytest.raises(CommandError, match=fault):
        call_command("contract_wallet", *arguments)
    assert not ContractWallet.objects.exists()


# --- signing in -----------------------------------------------------------------------


def sign_in(account, signature, *, chain=1):
    """Sign in as a contract; ``signature`` is bytes, or made from the hash."""
    session = new_session().session_key
    request = identity.begin_sign_in(
        session, account=account_on(chain, account), origin=ORIGIN
    )
    digest = personal_digest(request.message)
    signed = signature(digest) if callable(signature) else signature
    return identity.complete_sign_in(
        session,
        nonce=request.nonce,
        signature="0x" + signed.hex(),
        user_agent=FIREFOX_MAC,
    )


@pytest.mark.parametrize(
    ("account", "signature"),
    [
        (ACCEPTING, bytes),
        (COUNTERFACTUAL, deploying),
        # As long as a key's signature, and with a v that no key makes, as Safe does.
        (ACCEPTING, lambda digest: digest + b"\x01" * 32 + b"\x1f"),
        (ACCEPTING, lambda digest: digest + b"\x01" * 32 + b"\x1b"),
    ],
)
def test_a_contract_wallet_signs_in(client, node, account, signature):
    device = sign_in(account, signature)
    (key,) = device.identity_keys.all()
    assert Cacao.from_json(key.cacao).signature_type == EIP1271
    assert resolve([(key.did, KEYS_SERVER)]) == {key.did}
    row = key.account
    assert identity.is_contract_wallet(row)
    assert row.address == account_on(1, account)
    # The next device belongs to the same user.
    assert sign_in(account, signature).user == device.user


@pytest.mark.parametrize(
    ("account", "signature", "error"),
    [
        (REFUSING, ALICE.sign("x"), WrongSigner),
        (REFUSING, "0x" + "01" * 100, SignatureRefused),
        (ALICE.address, "0x" + "01" * 100, SignatureRefused),
        (ALICE.address, BOB.sign("x"), WrongSigner),
        (ALICE.address, "0x" + "01" * 64 + "1f", MalformedSignature),
        (ACCEPTING, "0x" + "01" * 20, MalformedSignature),
    ],
)
def test_what_the_contract_does_not_accept_does_not_sign_in(
    node, account, signature, error
):
    before = without_proofs(rows_of("identity"))
    with pytest.raises(error) as refusal:
        sign_in(account, bytes.fromhex(signature[2:]))
    assert type(refusal.value) is error
    assert without_proofs(rows_of("identity")) == before
    assert not Account.objects.exists()


def test_a_key_signs_in_without_its_chain(node):
    request = begin(ALICE, session := new_session().session_key)
    device = identity.complete_sign_in(
        session,
        nonce=request.nonce,
        signature=ALICE.sign(request.message),
        user_agent=FIREFOX_MAC,
    )
    assert not node.calls
    assert not identity.is_contract_wallet(device.identity_keys.get().account)


@pytest.mark.parametrize(
    ("signature", "error"), [(b"\x01" * 100, NoChainEndpoint), (None, WrongSigner)]
)
def test_without_an_endpoint_sign_in_names_the_setting(settings, signature, error):
    settings.RPC_URLS = {}
    signature = signature or bytes.fromhex(BOB.sign("x")[2:])
    with pytest.raises(error, match=r"for chain 10\b.*NOTIFYWEB_RPC_URLS"):
        sign_in(ACCEPTING, signature, chain=10)


def test_an_unavailable_chain_leaves_the_message_usable(node):
    session = new_session().session_key
    request = identity.begin_sign_in(
        session, account=account_on(1, ACCEPTING), origin=ORIGIN
    )
    answer = {
        "nonce": request.nonce,
        "signature": "0x" + personal_digest(request.message).hex(),
        "user_agent": FIREFOX_MAC,
    }
    node.answers = [b"not json"]
    with pytest.raises(ChainUnavailable):
        identity.complete_sign_in(session, **answer)
    assert identity.complete_sign_in(session, **answer)


@pytest.mark.parametrize("chain", [0, 2**60])
def test_an_impossible_chain_is_a_refusal(node, chain):
    with pytest.raises(MalformedSignature):
        sign_in(ACCEPTING, b"\x01" * 100, chain=chain)


def test_removing_the_account_deletes_its_answers(node):
    from identity.services.device_keys import retire_keys_of_account

    device = sign_in(ACCEPTING, bytes)
    retire_keys_of_account(device.identity_keys.get().account)
    assert not ContractProof.objects.exists()
    assert not ContractWallet.objects.exists()


# --- answers are cached ---------------------------------------------------------------


def test_an_accepted_signature_is_asked_once(client, node):
    for _ in range(3):
        assert register(client, contract_cacao(nonce="7" * 64, iat=NOW)) == SUCCESS
    assert node.methods == ["eth_chainId", "eth_call"]


def test_a_refused_signature_is_asked_again_after_a_minute(client, node):
    cacao = contract_cacao(signature=b"\x01" * 32)
    refuses(client, cacao, 400)
    refuses(client, cacao, 400)
    assert node.methods == ["eth_chainId", "eth_call"]
    with clock.frozen(clock.now() + timedelta(seconds=61)):
        refuses(client, cacao, 400)
    assert node.methods == ["eth_chainId", "eth_call", "eth_call"]


def test_an_answer_is_renewed_daily_and_used_meanwhile(client, node):
    register(client, contract_cacao())
    now = clock.now()
    with clock.frozen(now + timedelta(hours=25)):
        assert resolve() == {KEY.did}
        # The task calls the node; resolving does not.
        assert node.methods == ["eth_chainId", "eth_call"]
        assert identity.check_contracts() == 1
        assert node.methods[2:] == ["eth_call"]
        assert identity.check_contracts() == 0
    with clock.frozen(now + timedelta(days=7, hours=25)):
        with pytest.raises(KeysServerUnavailable) as error:
            resolve()
        assert error.value.unresolved == {KEY.did}
        assert identity.check_contracts() == 1
        assert resolve() == {KEY.did}


def test_a_wallet_that_no_longer_accepts_is_no_longer_resolved(client, node):
    register(client, contract_cacao())
    refused = json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x00"}).encode()
    with clock.frozen(clock.now() + timedelta(hours=25)):
        assert resolve() == {KEY.did}
        node.answers = [refused]
        identity.check_contracts()
        assert resolve() == set()
        assert identity.known_identity(KEY.did) is None


def test_an_endpoint_that_fails_takes_nothing_away(client, node):
    register(client, contract_cacao())
    with clock.frozen(clock.now() + timedelta(hours=25)):
        resolve()
        node.answers = [b"not json"]
        identity.check_contracts()
        assert resolve() == {KEY.did}
        row = ContractProof.objects.get()
        assert row.accepted
        assert row.reason


def test_the_cacao_of_another_keys_server_waits_for_its_chain(node, other_keys_server):
    other_keys_server.knows(contract_cacao())
    asked = [(KEY.did, other_keys_server.url)]
    with pytest.raises(KeysServerUnavailable):
        resolve(asked)
    identity.look_up_identities()
    with pytest.raises(KeysServerUnavailable):
        resolve(asked)
    assert not node.calls
    identity.check_contracts()
    assert resolve(asked) == {KEY.did}
    assert identity.known_identity(KEY.did) is not None


def test_without_an_endpoint_messages_do_not_wait(settings, other_keys_server):
    settings.RPC_URLS = {}
    other_keys_server.knows(contract_cacao())
    asked = [(KEY.did, other_keys_server.url)]
    with pytest.raises(KeysServerUnavailable):
        resolve(asked)
    identity.look_up_identities()
    assert resolve(asked) == set()
    assert not ContractProof.objects.exists()


def test_old_answers_are_pruned(client, node):
    register(client, contract_cacao())
    identity.prune(clock.now() + timedelta(days=29))
    assert ContractProof.objects.count() == 1
    identity.prune(clock.now() + timedelta(days=31))
    assert ContractProof.objects.count() == 0
    # The address still belongs to its chain.
    assert ContractWallet.objects.count() == 1


# --- endpoints that fail --------------------------------------------------------------

RESULT = b'{"jsonrpc":"2.0","id":1,"result":'


@pytest.mark.parametrize(
    "answers",
    [
        [b"not json"],
        [b"[]"],
        [b"{}"],
        [b"[" * 100_000],
        [b""],
        [RESULT + b"null}"],
        [RESULT + b'"0xzz"}'],
        [RESULT + b'"0x1"}', b"not json"],
        [RESULT + b'"0x1"}', RESULT + b'"0x"}'],
        [RESULT + b'"0x1"}', RESULT + b'"0x02"}'],
        [RESULT + b'"0x1"}', RESULT + b"true}"],
        [RESULT + b'"0x1"}', RESULT + b'{"deep":1}}'],
        [RESULT + b'"0x1"}', b'{"error":{"code":-32005,"message":"rate limit"}}'],
        [RESULT + b'"0x1"}', b'{"error":"no"}'],
        [RESULT + b'"' + b"0" * 3_000_000 + b'"}'],
        # It lies about its chain.
        [RESULT + b'"0x5"}'],
    ],
    ids=lambda answers: answers[-1][:50].decode(),
)
def test_an_unusable_answer_is_not_a_refusal(client, node, answers):
    node.answers = answers
    before = rows_of("identity")
    text = refuses(client, contract_cacao(), 503)
    assert "cannot be checked now" in text
    assert node.url not in text
    assert rows_of("identity") == before
    assert register(client, contract_cacao()) == SUCCESS


def test_a_wrong_chain_is_named(client, node):
    node.chain_id = 137
    assert "of chain 137" in refuses(client, contract_cacao(), 503)
    assert node.methods == ["eth_chainId"]


def test_a_slow_endpoint_is_given_up(client, node, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, contract_check_deadline_s=1)
    node.answering.clear()
    began = clock.monotonic()
    assert "deadline" in refuses(client, contract_cacao(), 503)
    assert clock.monotonic() - began < 5


@pytest.mark.django_db(transaction=True)
def test_waiting_for_the_chain_takes_no_database_session(node):
    check = contract_cacao().contract_check
    node.answering.clear()
    sessions = []

    def prove():
        sessions.append(session_pid())
        try:
            contract_wallets.prove(check)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(prove)
        assert node.asked.wait(30)
        with connection.cursor() as cursor:
            # PostgreSQL ends a session a moment after its client has closed it.
            until = clock.monotonic() + 10
            while clock.monotonic() < until:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", sessions
                )
                if cursor.fetchone() == (0,):
                    break
            else:
                pytest.fail("the session is open while the chain is asked")
        node.answering.set()
        done.result(30)
    assert ContractProof.objects.get().accepted


def test_an_absent_endpoint_is_given_up(client, settings):
    settings.RPC_URLS = {1: "http://localhost:1"}
    assert "cannot be checked now" in refuses(client, contract_cacao(), 503)


def test_a_private_endpoint_is_refused_unless_allowed(client, node, settings):
    settings.OUTBOUND_ALLOW = []
    assert "cannot be checked now" in refuses(client, contract_cacao(), 503)
    assert not node.calls


def test_waiting_requests_are_bounded(client, node):
    slots = contract_wallets._waiting
    taken = 0
    try:
        while slots.acquire(blocking=False):
            taken += 1
        assert "too many" in refuses(client, contract_cacao(), 503)
    finally:
        for _ in range(taken):
            slots.release()
    assert not IdentityRegistration.objects.exists()
    assert register(client, contract_cacao()) == SUCCESS
