"""The ASGI application: pages and REST over HTTP, devices over WebSocket."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifyweb.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import reverse

# Loads the apps; imports below may use models.
http_application = get_asgi_application()

from dashboard.routing import websocket_urlpatterns
from notifyweb.asgi_middleware import BodyLimit, SameOrigin
from notifyweb.database import pool_connections
from notifyweb.metrics import SocketMetrics
from notifyweb.request_threads import RequestThread, SocketThreads

if settings.WEB_DATABASE_POOL:
    pool_connections(settings.DATABASES["default"], settings.WEB_DATABASE_POOL)


# Django's paths, as in the documentation of Channels; its stubs want a type of their own.
routes: Any = websocket_urlpatterns
sockets: Any = AuthMiddlewareStack(URLRouter(routes))
if settings.WEB_DATABASE_POOL:
    # A third of the pool: pages always find connections that no socket holds.
    sockets = SocketThreads(sockets, max(1, settings.WEB_DATABASE_POOL // 3))

body_limit = BodyLimit(
    RequestThread(http_application),
    settings.LIMITS.json_body_bytes,
    # The file, and the other fields of its form.
    {
        reverse(f"dashboard:{name}"): bound + settings.LIMITS.json_body_bytes
        for name, bound in (
            ("data-import", settings.LIMITS.import_bytes),
            ("accounts-upload", settings.LIMITS.recipient_file_bytes),
        )
    },
)
application = ProtocolTypeRouter(
    {
        "http": body_limit,
        "websocket": SameOrigin(SocketMetrics(sockets), settings.BROWSER_ORIGINS),
    }
)
