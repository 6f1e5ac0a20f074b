"""The identity app; retires keys when devices and accounts go."""

from __future__ import annotations

from django.apps import AppConfig


class IdentityConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "identity"
    verbose_name = "Keys Server"

    def ready(self) -> None:
        from accounts.signals import account_removing, devices_revoked, sessions_ended
        from identity.services import (
            retire_keys_of_account,
            retire_keys_of_devices,
            retire_spare_keys_of_devices,
        )

        devices_revoked.connect(retire_keys_of_devices)
        sessions_ended.connect(retire_spare_keys_of_devices)
        account_removing.connect(retire_keys_of_account)
