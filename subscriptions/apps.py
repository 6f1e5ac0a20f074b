"""Tells Django that ``subscriptions`` is an app, and what it does when an account comes or goes."""

from __future__ import annotations

from django.apps import AppConfig


class SubscriptionsConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "subscriptions"
    verbose_name = "Subscriptions (wallet side)"

    def ready(self) -> None:
        from accounts.registry import before_account_removal, when_accounts_are_proven
        from subscriptions.services import leave_before_removal, watch_soon

        before_account_removal(leave_before_removal)
        when_accounts_are_proven(watch_soon)
