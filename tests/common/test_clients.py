"""The client address: of the connection, or from the headers of trusted proxies."""

from __future__ import annotations

import pytest
from django.test import RequestFactory

from common.clients import client_address, rate_key, subnet_key


def request_from(address, forwarded=""):
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return RequestFactory().get("/", REMOTE_ADDR=address, headers=headers)


def test_a_client_cannot_name_itself(settings):
    settings.TRUSTED_PROXIES = 0
    assert client_address(request_from("192.0.2.1", "198.51.100.7")) == "192.0.2.1"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (1, "198.51.100.7", "198.51.100.7"),
        (1, "1.2.3.4, 198.51.100.7", "198.51.100.7"),
        (2, "1.2.3.4, 198.51.100.7, 10.0.0.1", "198.51.100.7"),
        (2, "198.51.100.7", "192.0.2.1"),
        (1, "", "192.0.2.1"),
    ],
)
def test_only_entries_of_trusted_proxies_count(settings, proxies, forwarded, expected):
    settings.TRUSTED_PROXIES = proxies
    assert client_address(request_from("192.0.2.1", forwarded)) == expected


def test_one_ipv6_household_counts_once():
    assert subnet_key("2001:db8:1:2::1") == subnet_key("2001:db8:1:2:ffff::9")
    assert subnet_key("2001:db8:1:2::1") != subnet_key("2001:db8:1:3::1")


def test_a_mapped_address_counts_as_the_one_it_maps():
    assert subnet_key("::ffff:192.0.2.1") == subnet_key("192.0.2.1")


def test_unparsable_addresses_share_one_key(settings):
    settings.TRUSTED_PROXIES = 1
    forged = rate_key(request_from("192.0.2.1", "not-an-address"))
    assert forged == rate_key(request_from("192.0.2.1", "nor-is-this"))
