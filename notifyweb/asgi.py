"""What Daphne serves: pages and REST over HTTP, devices over WebSocket."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifyweb.settings")
# Daphne runs each request in a thread of its own; a pool keeps those threads from
# opening a connection each. Set before the settings are read.
os.environ.setdefault("NOTIFYWEB_DATABASE_POOL", "10")

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.sessions import SessionMiddlewareStack
from django.core.asgi import get_asgi_application

http_application = get_asgi_application()


def _websocket_urls() -> list[Any]:
    if find_spec("dashboard.routing") is None:
        return []
    found: list[Any] = import_module("dashboard.routing").websocket_urlpatterns
    return found


application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": SessionMiddlewareStack(URLRouter(_websocket_urls())),
    }
)
