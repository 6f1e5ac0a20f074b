"""Registration with Django, and hooks on accounts that are proven or removed."""

from __future__ import annotations

from django.apps import AppConfig


class SubscriptionsConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "subscriptions"
    verbose_name = "Subscriptions (wallet side)"

    def ready(self) -> None:
        from accounts.signals import account_closing, account_proven
        from subscriptions.services import unsubscribe_before_removal, watch_soon

        account_closing.connect(unsubscribe_before_removal)
        account_proven.connect(watch_soon)
