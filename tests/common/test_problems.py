"""Error answers of the API: RFC 9457, with the request's id, never cached."""

from __future__ import annotations

import json

from django.test import RequestFactory

from common.problems import Problem, problem_response

PROBLEM = Problem("too-long", "Title too long", 422, "At most 64.", field="/title")


def test_a_problem_names_the_fault_and_its_place():
    request = RequestFactory().get("/")
    request.request_id = "abcdef0123456789"
    answer = problem_response(request, PROBLEM, headers={"Retry-After": "3"})
    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["Cache-Control"] == "no-store"
    assert answer["Retry-After"] == "3"
    assert json.loads(answer.content) == {
        "type": "urn:notifyweb:problem:too-long",
        "title": "Title too long",
        "status": 422,
        "detail": "At most 64.",
        "field": "/title",
        "requestId": "abcdef0123456789",
    }


def test_a_whole_uri_stays_as_it_is():
    problem = Problem("https://example.com/gone", "Gone", 410, "It is gone.")
    assert problem.to_value()["type"] == "https://example.com/gone"
    assert "field" not in problem.to_value()
