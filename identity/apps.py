"""Tells Django that ``identity`` is an app; has keys retired with devices and accounts."""

from __future__ import annotations

from django.apps import AppConfig


class IdentityConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "identity"
    verbose_name = "Keys Server"

    def ready(self) -> None:
        from accounts.services import (
            before_account_removal,
            when_devices_are_revoked,
            when_sessions_end,
        )
        from identity.services import (
            retire_keys_of_account,
            retire_keys_of_devices,
            retire_spare_keys_of_devices,
        )

        when_devices_are_revoked(retire_keys_of_devices)
        when_sessions_end(retire_spare_keys_of_devices)
        before_account_removal(retire_keys_of_account)
