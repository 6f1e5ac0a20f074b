"""The page ``/cast/docs``: the OpenAPI description as a plain page.

Rendered here and not by a script: it is small, needs no JavaScript and reads well aloud.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.shortcuts import render
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from ninja.openapi.docs import DocsBase

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from ninja import NinjaAPI


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    summary: str
    description: SafeString
    id: str
    parameters: list[dict[str, Any]]
    # Names of schemas, or JSON Schema where there is no name.
    body: str
    responses: list[tuple[str, str, str]]


class DescriptionPage(DocsBase):
    def render_page(
        self, request: HttpRequest, api: NinjaAPI, **kwargs: Any
    ) -> HttpResponse:
        described = api.get_openapi_schema(**kwargs)
        groups: dict[str, list[Operation]] = {}
        for path, methods in described["paths"].items():
            for method, value in methods.items():
                tag = (value.get("tags") or ["Server"])[0]
                groups.setdefault(tag, []).append(_operation(method, path, value))
        context = {
            "info": described["info"],
            "paragraphs": [
                _with_code(each)
                for each in described["info"]["description"].strip().split("\n\n")
            ],
            "groups": groups,
            "schemas": {
                name: json.dumps(value, indent=2, ensure_ascii=False)
                for name, value in described["components"]["schemas"].items()
            },
            "openapi_url": self.get_openapi_url(api, kwargs),
        }
        return render(request, "castserver/description.html", context)


def _operation(method: str, path: str, value: dict[str, Any]) -> Operation:
    return Operation(
        method=method.upper(),
        path=path,
        summary=value.get("summary", ""),
        description=_with_code(value.get("description", "")),
        id=value["operationId"],
        parameters=value.get("parameters", []),
        body=_schema_text(value.get("requestBody", {})),
        responses=[
            (str(status), each.get("description", ""), _schema_text(each))
            for status, each in value["responses"].items()
        ],
    )


def _with_code(text: str) -> SafeString:
    """What the descriptions have between back-quotes, as code."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return mark_safe(marked)  # noqa: S308  (escaped before)


def _schema_text(holder: dict[str, Any]) -> str:
    """Its first content's schema; empty without content."""
    for content in holder.get("content", {}).values():
        return _schema_name(content["schema"])
    return ""


def _schema_name(schema: dict[str, Any]) -> str:
    """``NotifyIn``, ``list of NotifyV1In``, ``A or nothing``, or the schema itself."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_schema_name(schema['items'])}"
    if "anyOf" in schema:
        return " or ".join(map(_schema_name, schema["anyOf"]))
    if schema.get("type") == "null":
        return "nothing"
    return json.dumps(schema, ensure_ascii=False)
