"""URL of the browser's WebSocket."""

from __future__ import annotations

from django.urls import path

from dashboard.consumers import DeviceConsumer

websocket_urlpatterns = [
    # Channels routes ASGI applications by Django's patterns; the stubs know views only.
    path("ws/device/", DeviceConsumer.as_asgi)  # type: ignore[arg-type]
]
