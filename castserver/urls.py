"""The addresses of the dapp side: ``/cast/``, hosted dapps, and did.json of the server."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from castserver.views import documents, keys, notifications, types, webhooks
from castserver.views.api import api

app_name = "castserver"

# Importing these modules registers their operations.
OPERATIONS = (keys, notifications, types, webhooks)

urlpatterns: list[URLPattern | URLResolver] = [
    path(
        ".well-known/did.json",
        documents.server_did_document,
        name="server-did-document",
    ),
    path(
        "cast/.well-known/did.json",
        documents.server_did_document,
        name="cast-did-document",
    ),
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
    path("cast/", include(api.patterns())),
]
