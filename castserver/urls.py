"""The addresses of the dapp side: ``/cast/``, hosted dapps, and did.json of the server."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from castserver.views import documents, keys, notifications, types, webhooks
from castserver.views.api import api
from castserver.views.guard import guarded

app_name = "castserver"

# Importing them has registered their operations.
DOORS = (keys, notifications, types, webhooks)


def _guard(patterns: list[URLPattern | URLResolver]) -> list[URLPattern | URLResolver]:
    for pattern in patterns:
        if isinstance(pattern, URLPattern) and pattern.name not in {"openapi-view"}:
            pattern.callback = guarded(pattern.callback)
    return patterns


_api_patterns, _, _ = api.urls

urlpatterns: list[URLPattern | URLResolver] = [
    path(
        ".well-known/did.json",
        documents.server_did_document,
        name="server-did-document",
    ),
    path("cast/.well-known/did.json", documents.server_did_document),
    path(
        "cast/w3i/v1/notify-config", documents.explorer_config, name="explorer-config"
    ),
    path(
        "dapps/<slug:slug>/.well-known/did.json",
        documents.did_document,
        name="did-document",
    ),
    path(
        "dapps/<slug:slug>/.well-known/wc-notify-config.json",
        documents.notify_config,
        name="notify-config",
    ),
    path("cast/", include(_guard(_api_patterns))),
]
