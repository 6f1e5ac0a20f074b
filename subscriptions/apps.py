"""Tells Django that ``subscriptions`` is an app, and what it does when an account comes or goes."""

from __future__ import annotations

from django.apps import AppConfig


class SubscriptionsConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "subscriptions"
    verbose_name = "Subscriptions (wallet side)"

    def ready(self) -> None:
        from accounts.signals import account_closing, account_proven
        from subscriptions.services import leave_before_removal, watch_soon

        account_closing.connect(leave_before_removal)
        account_proven.connect(watch_soon)
