"""Host names and addresses in web addresses, in normal form.

Spec: RFC 1035, section 2.3.4 (63 and 253 characters); RFC 952 and 1123 (letters, digits and
hyphens; a hyphen neither first nor last); RFC 5891 (other letters become punycode). Departure:
underscores are accepted, since DNS carries them and sites use them.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import idna

_MAX_HOST: Final = 253
_MAX_LABEL: Final = 63

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
# A resolver takes such a name for an IPv4 address: "127.1", "0x7f.1", "2130706433".
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def normalize_host(host: str) -> str:
    """The normal form of a host, without brackets; ``ValueError`` has the reason if invalid.

    Lower case, punycode, no dot at the end; IP addresses in their shortest form.
    """
    if ":" in host:
        try:
            # A zone ("%eth0") names an interface of one machine only.
            if "%" in host:
                raise ValueError
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ValueError("the host is not a valid IPv6 address") from None
    name = host.lower()
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError:
            raise ValueError("the host name is not a valid domain") from None
    name = name.removesuffix(".")
    if not name:
        raise ValueError("the host name is missing")
    if len(name) > _MAX_HOST:
        raise ValueError(f"the host name has more than {_MAX_HOST} characters")
    labels = name.split(".")
    for label in labels:
        _check_label(label)
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise ValueError("the host is not a valid IPv4 address") from None
    return name


def _check_label(label: str) -> None:
    if not label:
        raise ValueError("the host name has an empty label")
    if len(label) > _MAX_LABEL:
        raise ValueError(
            f"a label of the host name has more than {_MAX_LABEL} characters"
        )
    if not _LABEL.fullmatch(label):
        raise ValueError(
            "a label of the host name has characters other than letters, digits and "
            "hyphens, or a hyphen at an end"
        )
