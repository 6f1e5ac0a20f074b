"""The accounts app; copies Django's admin log into the audit log."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_save


class AccountsConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "accounts"
    verbose_name = "Accounts and devices"

    def ready(self) -> None:
        post_save.connect(audit_admin_act, sender="admin.LogEntry")


def audit_admin_act(*, instance: Any, created: bool, **_: Any) -> None:
    """Admin users could delete Django's log; ours is append-only."""
    from accounts.audit import audit

    if created:
        audit(
            "admin.act",
            actor=instance.user,
            subject=f"{instance.content_type}:{instance.object_id}",
            detail=instance.get_change_message(),
        )
