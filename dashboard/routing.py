"""The browser's WebSocket address."""

from __future__ import annotations

from django.urls import path

from dashboard.consumers import DeviceConsumer

websocket_urlpatterns = [path("ws/device/", DeviceConsumer.as_asgi())]
