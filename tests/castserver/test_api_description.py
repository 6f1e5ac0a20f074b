"""The Cast API against its own description: whatever is sent, no defect shows.

Calls are generated from ``/cast/openapi.json``: right ones, and wrong in some place. Each
answer must be one that the description declares, in its form, and never a 5xx.
"""

from __future__ import annotations

import json

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from castserver.models import IdempotentCall
from castserver.services.webhooks.webhooks import register_webhook
from castserver.urls import api

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
]
EXAMPLES = 30

description = json.loads(json.dumps(api.get_openapi_schema(path_prefix="/cast/")))
schema = schemathesis.openapi.from_dict(description)
operations = [found.ok() for found in schema.get_all_operations()]
RIGHT, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


def can_be_wrong(operation) -> bool:
    """Whether a call has a body or a query to invalidate; its path is always valid."""
    return bool([*operation.body, *operation.query])


CASES = [(each, RIGHT) for each in operations]
CASES += [(each, WRONG) for each in operations if can_be_wrong(each)]


@pytest.fixture
def application():
    """The WSGI application, on this test's own connection and transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield get_wsgi_application()
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def path_ids(project):
    """Existing ids for the paths, so that calls reach the services."""
    webhook, _ = register_webhook(project, "https://a.example", events=["subscribed"])
    return {"project_id": project.pk, "webhook_id": str(webhook.pk)}


def name_a_known_type(body):
    """The description cannot know which types a project offers."""
    calls = body if isinstance(body, list) else [body]
    for call in calls:
        sent = call.get("notification", call) if isinstance(call, dict) else {}
        if isinstance(sent, dict) and "type" in sent:
            sent["type"] = "alerts"


@pytest.mark.parametrize(
    ("operation", "mode"),
    CASES,
    ids=lambda each: each.value if isinstance(each, GenerationMode) else each.label,
)
def test_every_answer_is_as_described(
    operation, mode, application, path_ids, secret, redis_client
):
    operation.schema.app = operation.app = application
    known = {
        each.name: path_ids[each.name]
        for each in operation.path_parameters
        if each.name in path_ids
    }
    strategy = operation.as_strategy(
        generation_mode=mode,
        path_parameters=known or None,
        headers={
            "Authorization": f"Bearer {secret}",
            # The WSGI client sends `gzip` by default and does not decode it.
            "Accept-Encoding": "identity",
        },
    )

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def calls(case):
        # Otherwise used idempotency keys (422) and rate limits (429) would answer.
        redis_client.flushall()
        if mode is RIGHT:
            name_a_known_type(case.body)
        IdempotentCall.objects.all().delete()
        # Its client does not decompress what a WSGI application returns.
        case.call_and_validate(checks=CHECKS, headers={"Accept-Encoding": "identity"})

    calls()
