"""Authenticates connecting clients.

Spec: WalletConnect servers/relay/relay-client-auth.md.

Only permanent errors are refused here: a refusal may be sent as close code 3000, after
which current clients do not reconnect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from common import clock
from walletconnect.errors import RemoteProtocolError
from walletconnect.relay.auth import verify_client_auth

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT_ID = re.compile(r"[-_.a-zA-Z0-9]{1,128}")
BEARER = "bearer "
MAX_TARGET_LENGTH = 8 * 1024


class ConnectRefused(Exception):
    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """Token, project and options of a client that connects."""

    auth: str | None
    project_id: str | None
    # Refuse by a close frame after the handshake instead of an HTTP status.
    use_on_close_event: bool

    @classmethod
    def read(cls, target: str, authorization: str | None) -> ConnectRequest:
        """Parse the request's path with its query, and its Authorization header."""
        try:
            query = parse_qs(
                urlsplit(target[:MAX_TARGET_LENGTH]).query, max_num_fields=32
            )
        except ValueError:
            query = {}
        auth = _first(query, "auth")
        if auth is None and authorization and authorization.lower().startswith(BEARER):
            auth = authorization[len(BEARER) :].strip()
        return cls(
            auth,
            _first(query, "projectId"),
            _first(query, "useOnCloseEvent") == "true",
        )

    def admit(self) -> str:
        """Returns the client id that the token proves, or raises `ConnectRefused`."""
        if not self.auth:
            raise ConnectRefused(HTTPStatus.UNAUTHORIZED, "JWT is missing")
        try:
            client = verify_client_auth(self.auth, now=clock.now_s())
        except RemoteProtocolError as error:
            raise ConnectRefused(
                HTTPStatus.UNAUTHORIZED, f"JWT is not valid: {error.message}"
            ) from None
        if not self.project_id:
            raise ConnectRefused(HTTPStatus.BAD_REQUEST, "Project ID is missing")
        if not PROJECT_ID.fullmatch(self.project_id):
            raise ConnectRefused(HTTPStatus.BAD_REQUEST, "Project ID is not valid")
        return client


def _first(query: Mapping[str, list[str]], name: str) -> str | None:
    return query.get(name, [None])[0]
