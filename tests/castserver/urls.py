"""The dapp side's addresses alone: the pages of others are not under test here."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("", include("castserver.urls"))]
handler404 = "notifyweb.errors.page_not_found"
