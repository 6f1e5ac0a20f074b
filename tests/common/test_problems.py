"""Error answers of the API: RFC 9457, with the request's id, never cached."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.test import RequestFactory
from django.utils.text import slugify

from common.problem_types import PROBLEM_TYPES
from common.problems import Problem, problem_response, problem_url

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
        "type": problem_url("too-long"),
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


OUR_PACKAGES = [
    path.parent
    for path in Path(settings.BASE_DIR).glob("*/__init__.py")
    if path.parent.name not in ("tests", "bench")
]
# How the code names a problem: Problem("x", …), replace(FORBIDDEN, type="x"), KeysServerRefusal(400, "x", …),
# not_found("X", …), and (422, "x") in the table of the Cast Server.
NAMES = [
    re.compile(r'\bProblem\(\s*(?:type=)?"([^"]+)"'),
    re.compile(r'\breplace\(FORBIDDEN, type="([^"]+)"'),
    re.compile(r'KeysServerRefusal\(\s*\d+,\s*"([^"]+)"'),
    re.compile(r'not_found\("([^"]+)"'),
    re.compile(r'^    \w+: \(\d+, "([^"]+)"\)', re.MULTILINE),
]


def test_every_problem_type_has_a_page(client):
    names = {"unauthorized"}  # From the status of ninja's own error.
    for package in OUR_PACKAGES:
        for path in package.rglob("*.py"):
            for pattern in NAMES:
                names |= set(pattern.findall(path.read_text()))
    entities = {name for name in names if name[0].isupper()}
    names = (names - entities) | {f"{name} not found" for name in entities}
    assert {slugify(name) for name in names} >= {"taken", "account-not-found"}
    for name in names:
        page = client.get(urlsplit(problem_url(name)).path)
        assert page.status_code == 200, name
        assert slugify(name) in page.text
    assert {slugify(name) for name in names} == set(PROBLEM_TYPES)


def test_an_unknown_problem_type_has_no_page(client):
    assert client.get("/problems/teapot").status_code == 404
