"""Addresses of the History Server, below ``/history``: verbatim from the spec."""

from __future__ import annotations

from history.views import api

app_name = "history"

urlpatterns = api.patterns()
