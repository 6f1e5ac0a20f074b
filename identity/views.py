"""The doors of the Keys Server: ``/identity`` and ``/invite``.

Spec: servers/keys-server; protocol.md, section 7. Every answer has the three members
``status``, ``error`` and ``value``. No cookies, so any origin may call, and no CSRF token
is asked for.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from common.clients import rate_key
from common.limits import consume
from identity.services import keys_server, own_keys_servers
from identity.services.errors import KeysServerRefusal
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import JsonObject, dump_json, parse_object

if TYPE_CHECKING:
    from collections.abc import Callable

BODY_BYTES: Final = 128 * 1024
CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "no-store",
}
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Max-Age": "86400",
}
METHODS: Final = ("GET", "POST", "DELETE")


def keys_server_endpoint(
    view: Callable[[HttpRequest], str],
) -> Callable[..., HttpResponse]:
    """``view`` returns the JSON text of ``value``; this makes the whole answer of it."""

    @csrf_exempt
    @functools.wraps(view)
    def door(request: HttpRequest) -> HttpResponse:
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers={**CORS, **PREFLIGHT})
        try:
            _let_in(request)
            return _answer(
                200, f'{{"status":"SUCCESS","error":null,"value":{view(request)}}}'
            )
        except KeysServerRefusal as refusal:
            return _refusal(refusal)

    # Tokens and CACAOs prove themselves; there is no session to ask for.
    door.access_rule = "public"  # type: ignore[attr-defined]
    return door


@keys_server_endpoint
def identity(request: HttpRequest) -> str:
    if request.method == "GET":
        cacao = keys_server.resolve(_parameter(request, "publicKey"))
        return f'{{"cacao":{cacao}}}'
    if request.method == "POST":
        keys_server.register(_member(request, "cacao"))
    else:
        keys_server.unregister(_member(request, "idAuth"), audiences=_names(request))
    return "null"


@keys_server_endpoint
def invite(request: HttpRequest) -> str:
    if request.method == "GET":
        invite_key = keys_server.resolve_invite(_parameter(request, "account"))
        return dump_json({"inviteKey": invite_key})
    id_auth = _member(request, "idAuth")
    if request.method == "POST":
        keys_server.register_invite(id_auth, audiences=_names(request))
    else:
        keys_server.unregister_invite(id_auth, audiences=_names(request))
    return "null"


# --- what a request has to pass first -------------------------------------------------


class _Busy(KeysServerRefusal):
    def __init__(self, retry_after: int) -> None:
        super().__init__(429, "too_many_requests", "Too many requests; try later")
        self.retry_after = retry_after


def _let_in(request: HttpRequest) -> None:
    if request.method not in METHODS:
        raise KeysServerRefusal(405, "validation", "GET, POST or DELETE")
    if request.method == "GET":
        return
    _check_size(request)
    verdict = consume("identity_register", rate_key(request))
    if not verdict.allowed:
        raise _Busy(verdict.retry_after)


def _check_size(request: HttpRequest) -> None:
    too_large = KeysServerRefusal(
        413, "validation", f"a body has at most {BODY_BYTES} bytes"
    )
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
        if length > BODY_BYTES or len(request.body) > BODY_BYTES:
            raise too_large
    except (ValueError, RequestDataTooBig, UnreadablePostError):
        raise too_large from None


def _parameter(request: HttpRequest, name: str) -> str:
    value = request.GET.get(name)
    if not value:
        raise KeysServerRefusal(400, "validation", f"missing query parameter {name}")
    return value


def _member(request: HttpRequest, name: str) -> JsonObject | str:
    try:
        value = parse_object(request.body, "body").get(name)
    except RemoteProtocolError as error:
        raise KeysServerRefusal(400, "validation", error.message) from None
    if not isinstance(value, (dict, str)):
        raise KeysServerRefusal(400, "validation", f"missing member {name}")
    return value


def _names(request: HttpRequest) -> list[str]:
    """What a client may call this server: by its settings, or as it just did."""
    called = f"{request.scheme}://{request.get_host()}"
    return [settings.PUBLIC_URL, settings.KEYS_SERVER_URL, called, *own_keys_servers()]


# --- answers --------------------------------------------------------------------------


def _answer(status: int, text: str) -> HttpResponse:
    return HttpResponse(
        text, status=status, content_type="application/json", headers=CORS
    )


def _refusal(refusal: KeysServerRefusal) -> HttpResponse:
    error: JsonObject = {"name": refusal.name, "message": refusal.message}
    response = _answer(
        refusal.status,
        dump_json({"status": "FAILURE", "error": error, "value": None}),
    )
    if refusal.status == 405:
        response.headers["Allow"] = ", ".join((*METHODS, "OPTIONS"))
    if isinstance(refusal, _Busy):
        response.headers["Retry-After"] = str(refusal.retry_after)
    return response
