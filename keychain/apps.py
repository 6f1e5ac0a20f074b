"""The keychain app; ``migrate`` seals a canary."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connection
from django.db.models.signals import post_migrate


class KeychainConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "keychain"
    verbose_name = "Keychain"

    def ready(self) -> None:
        from keychain import checks  # noqa: F401 - registers itself

        post_migrate.connect(seal_canary, sender=self)


def seal_canary(**_: Any) -> None:
    """After ``migrate``: the first start of a database seals the canary."""
    from keychain.canary import ensure_canary
    from keychain.models import SecretEntry

    if SecretEntry._meta.db_table in connection.introspection.table_names():
        ensure_canary()
