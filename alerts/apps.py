"""App configuration of ``alerts``: registers its notification channels."""

from __future__ import annotations

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "alerts"
    verbose_name = "Alerts (push, digest, forwarding)"

    def ready(self) -> None:
        from accounts import channels
        from accounts.signals import devices_revoked, sessions_ended
        from alerts.channel import Alerts
        from alerts.services.webpush import remove_subscriptions

        channels.register(Alerts())
        devices_revoked.connect(remove_subscriptions)
        sessions_ended.connect(remove_subscriptions)
