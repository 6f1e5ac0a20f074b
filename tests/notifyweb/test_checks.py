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
