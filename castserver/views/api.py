"""The REST API of the Cast Server as django-ninja serves it: who may, and what goes wrong.

The project id in a path is optional, because the secret identifies the project. Errors are RFC 9457 problems that also carry the
members of the earlier servers, ``reason`` and ``error``.
"""

from __future__ import annotations

import functools
import inspect
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

from django.urls import register_converter
from django.urls.converters import StringConverter
from ninja import Path
from ninja.errors import AuthenticationError
from ninja.security.base import SecuritySchema
from pydantic import Field

from accounts.services import called_by
from castserver.models import Project, ProjectSecret, SecretScope
from castserver.services.errors import (
    CastError,
    Forbidden,
    Invalid,
    Missing,
    NotNow,
    StillRunning,
    Taken,
    TooMany,
)
from castserver.services.projects.projects import find_secret
from castserver.views import schemas
from castserver.views.description import DescriptionPage
from common.clients import rate_key
from common.problems import Problem, ProblemError
from common.public_api import PublicAPI, enforce_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.http import HttpRequest, HttpResponse
    from ninja.openapi.schema import OpenAPISchema

PROBLEM_JSON: Final = "application/problem+json"
FIRST_ERROR: Final = 400

DESCRIPTION: Final = """
Send notifications to the subscribers of a dapp, and receive events about subscribers.

Every path exists with the project id (`/cast/{project_id}/notify`) and without it
(`/cast/notify`): the bearer secret alone names the project. Calls that create something
take an `Idempotency-Key`: a repeat within 24 hours gets the first response.
"""

# Any call may get these; 404 and 409 are declared by the calls that use them.
ERRORS: Final[dict[int, Any]] = dict.fromkeys(
    (400, 401, 403, 413, 422, 429, 503), schemas.Problem
)
ProjectId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
IDEMPOTENCY_KEY: Final = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "description": "A repeat with the same key and body gets the first answer.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}


STATUS_OF: Final[dict[type[CastError], tuple[int, str]]] = {
    Invalid: (422, "invalid"),
    Taken: (409, "taken"),
    Forbidden: (403, "insufficient-scope"),
    Missing: (404, "not-found"),
    StillRunning: (409, "still-running"),
    TooMany: (429, "too-many-requests"),
}


class CastAPI(PublicAPI):
    """Problems that also carry the members of the earlier servers."""

    access_rule = "project secret"

    def send_problem(
        self,
        request: HttpRequest,
        problem: Problem,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        response = super().send_problem(request, problem, headers=headers)
        value = json.loads(response.content)
        value |= {"reason": problem.detail, "error": problem.detail}
        response.content = json.dumps(value).encode()
        return response

    def problem_of(self, error: Exception) -> ProblemError | None:
        if not isinstance(error, CastError):
            return super().problem_of(error)
        status, name = STATUS_OF[type(error)]
        headers = {}
        if isinstance(error, NotNow):
            headers["Retry-After"] = str(max(1, error.retry_after))
        if isinstance(error, Forbidden):
            # RFC 6750, section 3.1.
            headers["WWW-Authenticate"] = (
                f'Bearer error="insufficient_scope", scope="{error.scope}"'
            )
        title = HTTPStatus(status).phrase
        problem = Problem(name, title, status, error.reason, error.field)
        return ProblemError(problem, headers=headers)

    _schema: OpenAPISchema | None = None

    def get_openapi_schema(self, **kwargs: Any) -> OpenAPISchema:
        # Built once per process: it takes a quarter of a second and never changes.
        if self._schema is None:
            schema = super().get_openapi_schema(**kwargs)
            for path in schema["paths"].values():
                for operation in path.values():
                    _describe_errors(operation["responses"])
            self._schema = schema
        return self._schema


def _describe_errors(responses: dict[int, Any]) -> None:
    for status, response in responses.items():
        content = response.get("content")
        if int(status) >= FIRST_ERROR and content:
            response["content"] = {PROBLEM_JSON: content["application/json"]}


class ProjectAuth:
    """``Authorization: Bearer <project secret>``, of the project in the path if one is."""

    openapi_security_schema = SecuritySchema(type="http", scheme="bearer")

    def __call__(self, request: HttpRequest) -> ProjectSecret:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        match = request.resolver_match
        project_id = match.kwargs.get("project_id") if match else None
        if scheme.lower() != "bearer" or not secret:
            raise AuthenticationError(message="a bearer secret is needed")
        try:
            return find_secret(secret.strip(), project_id=project_id)
        except Missing as error:
            enforce_rate(
                "failed_sign_in", f"cast {rate_key(request)}", "too many wrong secrets"
            )
            raise AuthenticationError(message=error.reason) from None


def project_of(request: HttpRequest) -> Project:
    """The project of the bearer secret."""
    return _secret_of(request).project


def require_scope(request: HttpRequest, scope: SecretScope) -> None:
    if scope not in _secret_of(request).scopes:
        raise Forbidden(scope)


def _secret_of(request: HttpRequest) -> ProjectSecret:
    secret = getattr(request, "auth", None)
    if not isinstance(secret, ProjectSecret):
        raise AuthenticationError(message="a bearer secret is needed")
    return secret


api = CastAPI(
    name="castserver",
    max_body="json_body_bytes",
    title="Cast Server",
    version="1.0.0",
    description=DESCRIPTION,
    docs=DescriptionPage(),
    auth=ProjectAuth(),
    openapi_extra={"info": {"license": {"name": "Apache-2.0"}}},
)


# --- registration ---------------------------------------------------------------------


class ProjectIdConverter(StringConverter):
    """Any path segment except a version: `/v1/notify` names no project called v1."""

    regex = r"(?!v\d+/)[^/]+"


register_converter(ProjectIdConverter, "project")


def served(
    method: str,
    tail: str,
    *,
    response: dict[int, Any],
    versions: tuple[str, ...] = ("", "v0"),
    idempotent: bool = False,
    limit: str | None = "cast_call",
    scope: SecretScope | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Serve a function at ``tail`` with and without the project id in the path.

    The first version with the project id is the one in the description. ``limit`` names
    the rate of calls per project; None if the function sees to it. The secret needs
    ``scope``.
    """

    def register(plain: Callable[..., Any]) -> Callable[..., Any]:
        function = _guarded(plain, limit, scope)
        paths = [
            f"/{version}{project}/{tail}".replace("//", "/")
            for version in versions
            for project in ("/{project:project_id}", "")
        ]
        for path in paths:
            is_documented = path == paths[0]
            api.api_operation(
                [method],
                path,
                response={**response, **ERRORS},
                include_in_schema=is_documented,
                openapi_extra={"parameters": [IDEMPOTENCY_KEY] if idempotent else []},
                operation_id=function.__name__ if is_documented else None,
                url_name=_url_name(tail, versions[0]) if is_documented else None,
                **options,
            )(_with_project_id(function) if _names_project(path) else function)
        return plain

    return register


def _guarded(
    function: Callable[..., Any], limit: str | None, scope: SecretScope | None
) -> Callable[..., Any]:
    @functools.wraps(function)
    def view(request: HttpRequest, **values: Any) -> Any:
        secret = _secret_of(request)
        if limit is not None:
            enforce_rate(limit, secret.project_id, request=request)
        if scope is not None:
            require_scope(request, scope)
        with called_by(f"API secret {secret}"):
            return function(request, **values)

    view.__signature__ = inspect.signature(  # type: ignore[attr-defined]
        function, eval_str=True
    )
    return view


def _url_name(tail: str, version: str) -> str:
    """``castserver:notify``, ``castserver:notify-v1``, ``castserver:webhooks-one``."""
    name = tail.replace("/{webhook_id}", "-one")
    return f"{name}-{version}" if version else name


def _names_project(path: str) -> bool:
    return "{project:project_id}" in path


def _with_project_id(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with the path's project id among its parameters.

    ``ProjectAuth`` has compared it with the secret; the function does not need it.
    """

    @functools.wraps(function)
    def view(request: HttpRequest, project_id: str, **values: Any) -> Any:
        return function(request, **values)

    signature = inspect.signature(function, eval_str=True)
    project_id = inspect.Parameter(
        "project_id", inspect.Parameter.KEYWORD_ONLY, annotation=Path[ProjectId]
    )
    view.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), project_id]
    )
    return view
