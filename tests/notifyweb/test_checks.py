"""System checks refuse test settings and unsafe settings in production."""

from __future__ import annotations

import pytest

from notifyweb.checks import check_addresses, check_production


@pytest.fixture
def production(settings):
    settings.PRODUCTION = True
    settings.DEBUG = False
    settings.OUTBOUND_ALLOW = []
    settings.FAILPOINTS = []
    settings.FAILPOINT_FOLDER = ""
    settings.ALLOWED_HOSTS = ["notify.example"]
    settings.PUBLIC_HTTPS = True
    return settings


def ids(messages):
    return [message.id for message in messages]


def test_a_safe_production_configuration_passes(production):
    assert check_production(None) == []
    assert check_addresses(None) == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DEBUG", True, "notifyweb.E001"),
        ("OUTBOUND_ALLOW", ["10.0.0.1"], "notifyweb.E002"),
        ("FAILPOINTS", ["subscribe.05"], "notifyweb.E003"),
        ("FAILPOINT_FOLDER", "armed", "notifyweb.E003"),
        ("ALLOWED_HOSTS", ["*"], "notifyweb.E004"),
    ],
)
def test_a_test_setting_is_refused_in_production(production, name, value, expected):
    setattr(production, name, value)
    assert ids(check_production(None)) == [expected]
    production.PRODUCTION = False
    assert check_production(None) == []


def test_inner_hosts_may_be_allowed_if_confirmed(production, monkeypatch):
    production.OUTBOUND_ALLOW = ["10.0.0.1"]
    monkeypatch.setenv("NOTIFYWEB_OUTBOUND_ALLOW_IN_PRODUCTION", "10.0.0.1")
    assert check_production(None) == []
    monkeypatch.setenv("NOTIFYWEB_OUTBOUND_ALLOW_IN_PRODUCTION", "10.0.0.2")
    assert ids(check_production(None)) == ["notifyweb.E002"]


def test_an_external_relay_needs_a_project_id(production):
    production.EMBEDDED_RELAY = False
    production.PROJECT_ID = ""
    assert ids(check_addresses(None)) == ["notifyweb.E005"]
    production.PROJECT_ID = "a" * 32
    assert check_addresses(None) == []


def test_plain_http_in_production_is_warned_about(production):
    production.PUBLIC_HTTPS = False
    assert ids(check_addresses(None)) == ["notifyweb.W001"]


@pytest.mark.parametrize(
    "url",
    ["http://rpc.example", "https://10.0.0.1", "https://u:p@rpc.example", "https://n"],
)
def test_an_rpc_url_that_the_client_would_refuse_is_an_error(production, url):
    production.RPC_URLS = {1: "https://rpc.example/v2/key", 10: url}
    (error,) = check_addresses(None)
    assert error.id == "notifyweb.E006"
    assert "chain 10" in error.msg
    assert url not in error.msg
