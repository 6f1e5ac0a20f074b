"""Headers of every response, and error responses."""

from __future__ import annotations

import json
import logging

import pytest
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from django.test import Client
from django.urls import path

from common.problems import Problem, ProblemError, problem_url
from notifyweb import error_pages, urls


def away(request):
    raise OperationalError("server closed the connection unexpectedly")


def interface(request):
    raise InterfaceError("connection already closed")


def broken(request):
    raise RuntimeError("SELECT secret FROM /srv/app/path.py")


def refused(request):
    problem = Problem("too-many", "Too many", 429, "Wait a little.")
    seconds = request.GET.get("seconds", "7")
    raise ProblemError(problem, headers={"Retry-After": seconds})


def conflict(request):
    raise ProblemError(Problem("taken", "Taken", 409, "The name is taken."))


def posted(request):
    return HttpResponse("done")


urlpatterns = [
    path("test/away", away),
    path("test/interface", interface),
    path("test/broken", broken),
    path("test/refused", refused),
    path("test/posted", posted),
    path("test/conflict", conflict),
    *urls.urlpatterns,
]
handler400 = urls.handler400
handler403 = urls.handler403
handler404 = urls.handler404
handler500 = urls.handler500


@pytest.fixture(autouse=True)
def _our_urls(settings):
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def browser():
    return Client(raise_request_exception=False, headers={"Accept": "text/html"})


@pytest.fixture
def program():
    return Client(raise_request_exception=False, headers={"Accept": "*/*"})


def test_every_response_has_the_security_headers(program):
    headers = program.get("/healthz").headers
    policy = headers["Content-Security-Policy"]
    for directive in (
        "default-src 'none'",
        "script-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ):
        assert directive in policy
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "camera=()" in headers["Permissions-Policy"]


def test_every_response_has_its_request_id(program):
    first, second = (program.get("/healthz")["X-Request-Id"] for _ in range(2))
    assert first != second
    given = program.get("/healthz", headers={"X-Request-Id": "trace-12345678"})
    assert given["X-Request-Id"] == "trace-12345678"


@pytest.mark.parametrize("forged", ["short", "a" * 65, "line\tbreak", "<script>"])
def test_a_malformed_request_id_is_replaced(program, forged):
    answer = program.get("/healthz", headers={"X-Request-Id": forged})
    assert answer["X-Request-Id"] != forged


@pytest.mark.parametrize("address", ["/test/away", "/test/interface"])
def test_an_unavailable_database_is_503_with_retry_after(program, browser, address):
    for client in (program, browser):
        answer = client.get(address)
        assert answer.status_code == 503
        assert answer["Retry-After"] == "2"
        assert b"connection" not in answer.content
    assert program.get(address).json()["type"] == problem_url("database-away")
    assert browser.get(address)["Content-Type"].startswith("text/html")


def test_an_internal_error_shows_no_details(program, browser, caplog):
    caplog.set_level(logging.CRITICAL, "django.request")
    for client in (program, browser):
        answer = client.get("/test/broken")
        assert answer.status_code == 500
        for hint in (b"SELECT", b"path.py", b"RuntimeError", b"Traceback", b"django"):
            assert hint not in answer.content
    problem = program.get("/test/broken").json()
    assert problem["requestId"]


def test_a_problem_raised_below_a_view_becomes_the_response(program):
    answer = program.get("/test/refused")
    assert answer.status_code == 429
    assert answer["Retry-After"] == "7"
    assert answer["Content-Type"] == "application/problem+json"


def test_an_unknown_path_is_a_page_or_a_problem(program, browser):
    problem = program.get("/nothing/here")
    assert problem.status_code == 404
    assert problem["Content-Type"] == "application/problem+json"
    page = browser.get("/nothing/here")
    assert page.status_code == 404
    assert page["Content-Type"].startswith("text/html")


PAGES = {
    "/nowhere": 404,
    "/inbox?q=%00": 400,
    "/signin/begin": 405,
    "/test/refused": 429,
    "/test/broken": 500,
    "/test/away": 503,
    "/test/conflict": 409,
}


@pytest.mark.parametrize(("address", "status"), PAGES.items())
@pytest.mark.parametrize("language", ["en", "de"])
def test_an_error_page_is_whole_translated_and_names_its_request(
    browser, caplog, address, status, language
):
    caplog.set_level(logging.CRITICAL, "django.request")
    page = browser.get(address, headers={"Accept-Language": language})
    text = page.content.decode()
    assert page.status_code == status
    assert int(page["Content-Length"]) == len(page.content)
    assert "no-store" in page["Cache-Control"]
    assert f'<html lang="{language}"' in text
    assert f"<code>{page['X-Request-Id']}</code>" in text
    assert 'href="/inbox"' in text
    assert ("Zum Posteingang" in text) == (language == "de")


def test_a_wait_is_in_words(browser):
    assert b"Try again in 7 seconds." in browser.get("/test/refused").content
    for seconds, words in (("1", b"1 second."), ("3000", b"50 minutes.")):
        assert words in browser.get(f"/test/refused?seconds={seconds}").content


def test_after_an_error_a_form_is_tried_again_on_its_page(browser, caplog):
    caplog.set_level(logging.CRITICAL, "django.request")
    own = {"Referer": "http://testserver/settings?tab=data"}
    page = browser.post("/test/broken", headers=own)
    assert b'href="/settings?tab=data"' in page.content
    assert b'href="/test/broken"' not in page.content
    for foreign in ("http://evil.example/settings", "javascript:alert(1)", ""):
        page = browser.post("/test/broken", headers={"Referer": foreign})
        assert b"Back to the page" not in page.content
        assert b"evil" not in page.content
    assert b'href="/test/broken?x=1"' in browser.get("/test/broken?x=1").content


def test_an_error_page_without_its_template_still_explains(browser, monkeypatch):
    def fails(*_):
        raise RuntimeError("no template")

    monkeypatch.setattr(error_pages, "render_to_string", fails)
    page = browser.get("/nowhere")
    assert page.status_code == 404
    assert b"<h1>There is nothing here</h1>" in page.content
    assert page["X-Request-Id"].encode() in page.content


def test_an_error_page_keeps_the_chosen_appearance(browser):
    browser.cookies["theme"] = "dark"
    page = browser.get("/nowhere")
    assert b'data-theme="dark"' in page.content


def test_a_form_without_a_csrf_token_is_refused():
    careful = Client(enforce_csrf_checks=True)
    answer = careful.post("/test/posted")
    assert answer.status_code == 403
    assert json.loads(answer.content)["type"] == problem_url("csrf")


def test_an_unknown_host_is_refused(program, caplog):
    caplog.set_level(logging.CRITICAL)
    answer = program.get("/test/posted", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert b"evil" not in answer.content


def test_healthz_needs_no_query(program, django_assert_num_queries):
    assert program.get("/healthz").json() == {"status": "ok"}


def test_health_is_not_cached_and_is_read_only(program):
    assert "no-store" in program.get("/healthz")["Cache-Control"]
    refused = program.post("/healthz")
    assert (refused.status_code, refused["Allow"]) == (405, "GET, HEAD")
    assert refused["Content-Type"] == "application/problem+json"
    assert refused.json()["detail"] == "This address takes GET, HEAD only."


@pytest.mark.django_db
def test_metrics_are_in_the_prometheus_format(program):
    answer = program.get("/metrics")
    assert answer["Content-Type"].startswith("text/plain")
    assert b"# HELP python_info" in answer.content
