"""The HTTP API of the Keys Server: ``/identity`` and ``/invite``.

Spec: WalletConnect specs, servers/keys/keys-server-api.md. Every answer has the three
members ``status``, ``error`` and ``value``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from common.problems import Problem, ProblemError
from common.public_api import PublicAPI, bad_request
from identity.services import keys_server, own_keys_servers
from walletconnect.json_values import JsonObject, dump_json, parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping

# What the API's own problems are called on this wire.
ERROR_NAMES: Final = {
    "bad-request": "validation",
    "method": "validation",
    "too-large": "validation",
    "too-many-requests": "too_many_requests",
}


class KeysAPI(PublicAPI):
    def send_problem(
        self,
        request: HttpRequest,
        problem: Problem,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        name = ERROR_NAMES.get(problem.type, problem.type)
        error: JsonObject = {"name": name, "message": problem.detail}
        return HttpResponse(
            dump_json({"status": "FAILURE", "error": error, "value": None}),
            status=problem.status,
            content_type="application/json",
            headers=dict(headers or {}),
        )


api = KeysAPI(name="identity", max_body="keys_body_bytes", openapi_url=None)


@api.get("/identity", url_name="identity")
def get_identity(request: HttpRequest) -> Any:
    # The CACAO is sent as the text that was registered: its signature covers that text.
    return _success(
        f'{{"cacao":{keys_server.resolve(_parameter(request, "publicKey"))}}}'
    )


@api.post("/identity")
def register_identity(request: HttpRequest) -> Any:
    keys_server.register(_member(request, "cacao"), audiences=_own_names(request))
    return _success()


@api.delete("/identity")
def unregister_identity(request: HttpRequest) -> Any:
    keys_server.unregister(_member(request, "idAuth"), audiences=_own_names(request))
    return _success()


@api.get("/invite", url_name="invite")
def get_invite(request: HttpRequest) -> Any:
    invite_key = keys_server.resolve_invite(_parameter(request, "account"))
    return _success(dump_json({"inviteKey": invite_key}))


@api.post("/invite")
def register_invite(request: HttpRequest) -> Any:
    keys_server.register_invite(
        _member(request, "idAuth"), audiences=_own_names(request)
    )
    return _success()


@api.delete("/invite")
def unregister_invite(request: HttpRequest) -> Any:
    keys_server.unregister_invite(
        _member(request, "idAuth"), audiences=_own_names(request)
    )
    return _success()


def _success(value: str = "null") -> HttpResponse:
    return HttpResponse(
        f'{{"status":"SUCCESS","error":null,"value":{value}}}',
        content_type="application/json",
    )


def _parameter(request: HttpRequest, name: str) -> str:
    value = request.GET.get(name)
    if not value:
        raise ProblemError(bad_request(f"missing query parameter {name}"))
    return value


def _member(request: HttpRequest, name: str) -> JsonObject | str:
    value = parse_object(request.body, "body").get(name)
    if not isinstance(value, (dict, str)):
        raise ProblemError(bad_request(f"missing member {name}"))
    return value


def _own_names(request: HttpRequest) -> list[str]:
    """The URLs of this server: of the settings, and the one that the client used."""
    used = f"{request.scheme}://{request.get_host()}"
    return [settings.PUBLIC_URL, settings.KEYS_SERVER_URL, used, *own_keys_servers()]
