"""What pushes are compared with: Channels groups on the same web server.

``python -m bench.push_groups PORT``: each socket joins the group of the user that its query
names, and sends the text that a message of the group holds. There is no session, no database,
no cursor and no acknowledgement.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifyweb.settings")
# Consumers read the settings when they are imported.
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402
from daphne.endpoints import build_endpoint_description_strings  # noqa: E402

from notifyweb.web import FRAME_BYTES, GracefulServer  # noqa: E402


def group_of(user: str) -> str:
    return f"bench.{user}"


class Consumer(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.groups = [group_of(self.scope["query_string"].decode())]
        await self.channel_layer.group_add(self.groups[0], self.channel_name)
        await self.accept()

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        """Nothing is expected of a browser."""

    async def push(self, message: dict[str, Any]) -> None:
        await self.send(text_data=message["text"])


def main(port: int) -> None:
    consumer: Any = Consumer.as_asgi()
    GracefulServer(
        application=ProtocolTypeRouter({"websocket": consumer}),
        endpoints=build_endpoint_description_strings(host="127.0.0.1", port=port),
        websocket_max_message_size=FRAME_BYTES,
        websocket_max_frame_size=FRAME_BYTES,
        websocket_timeout=-1,
        verbosity=0,
    ).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
