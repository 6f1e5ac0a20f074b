"""A whole life of identities, and no secret in any log, repr, table or task argument."""

from __future__ import annotations

import base64
import logging

import pytest
from django.db import connection

from accounts import services as accounts
from accounts.models import AuditEntry
from identity import services as identity
from keychain import services as keychain
from keychain.services import Holder
from tests.people import ALICE, begin, link, new_session, sign_in

pytestmark = pytest.mark.django_db


def spellings(secret: bytes) -> set[str]:
    return {
        secret.hex(),
        secret.hex().upper(),
        base64.b64encode(secret).decode(),
        base64.urlsafe_b64encode(secret).decode().rstrip("="),
        repr(secret)[2:-1],
    }


def live_and_collect(settings, caplog) -> tuple[set[str], str]:
    """Sign in, sign again, fail, revoke, remove; returns the secrets and all output."""
    secrets: set[str] = set()
    output: list[str] = []
    device = sign_in(ALICE)
    for _ in range(2):
        link(ALICE, device)
        signing = identity.signing_identity(ALICE.row(), device=device)
        secrets |= spellings(signing.key.seed)
        output.append(repr(signing))
    secrets |= {device.session}
    request = begin(ALICE, new_session().session_key)
    seed = keychain.signing_key(Holder.IDENTITY, request.identity_did).seed
    secrets |= spellings(seed)
    for signature in ("nonsense", ALICE.sign("another text")):
        with pytest.raises(identity.SignInError) as error:
            identity.complete_sign_in(
                "another session",
                nonce=request.nonce,
                signature=signature,
                user_agent="",
            )
        output.append(repr(error.value) + str(error.value))
    for key in settings.KEYCHAIN_KEYS:
        secrets.add(key.partition(":")[2])
    accounts.revoke_device(device, by=None)
    output.append(caplog.text)
    return secrets, "\n".join(output)


def test_logs_and_reprs_hold_no_secret(settings, caplog):
    caplog.set_level(logging.DEBUG)
    secrets, output = live_and_collect(settings, caplog)
    assert len(secrets) > 10
    assert [secret for secret in secrets if secret in output] == []


def test_no_table_holds_a_secret(settings, caplog):
    secrets, _ = live_and_collect(settings, caplog)
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT t::text FROM "{table}" t')  # noqa: S608
            text = "\n".join(row[0] for row in cursor)
            found = [secret for secret in secrets if secret in text]
            assert (table, found) == (table, [])


def test_the_audit_log_holds_neither_secrets_nor_addresses(settings, caplog):
    secrets, _ = live_and_collect(settings, caplog)
    for entry in AuditEntry.objects.all():
        text = f"{entry.action} {entry.actor} {entry.subject} {entry.detail}"
        assert not any(secret in text for secret in secrets)
        assert ALICE.address.lower() not in text.lower()


def test_tasks_get_primary_keys_only(
    registered_elsewhere, monkeypatch, django_capture_on_commit_callbacks
):
    from celery.canvas import Signature

    started = []
    monkeypatch.setattr(
        Signature,
        "apply_async",
        lambda signature: started.append((signature.task, signature.args)),
    )
    with django_capture_on_commit_callbacks(execute=True):
        device = sign_in(ALICE)
        accounts.revoke_device(device, by=None)
    assert {task for task, _ in started} >= {
        "identity.register_identity_keys",
        "identity.unregister_identity_keys",
    }
    assert all(isinstance(value, int) for _, args in started for value in args)
