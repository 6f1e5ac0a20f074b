"""Prints every secret that a system holds, opened, for tests that look for leaks.

Run it with ``manage.py shell`` of the system under test, which has the sealing key.
"""

from __future__ import annotations

import json
import sys

from django.apps import apps

from keychain.columns import open_sealed, sealed_columns
from keychain.models import KeyPairEntry, SecretEntry, SigningKeyEntry, SymKeyEntry
from keychain.rows import opened

KINDS = (SymKeyEntry, KeyPairEntry, SigningKeyEntry, SecretEntry)


def print_secrets() -> None:
    found: dict[str, list[str]] = {}
    for model in KINDS:
        for row, secret in opened(model.objects.all()):
            kind = f"{model.__name__} {row.holder}"
            found.setdefault(kind, []).append(secret.hex())
    for column in sealed_columns():
        model = apps.get_model(column.model)
        for row in model._default_manager.select_related(*column.related):
            sealed = bytes(getattr(row, column.column))
            if sealed:
                secret = open_sealed(column.context(row), sealed)
                found.setdefault(str(column), []).append(secret.hex())
    sys.stdout.write(f"SECRETS {json.dumps(found)}\n")
