"""Reports unusable ``KEYCHAIN_KEYS`` when a process starts."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from keychain.keyring import KeyringError, keyring


@register(Tags.security)
def keychain_keys_are_usable(**_: Any) -> list[CheckMessage]:
    try:
        keyring()
    except KeyringError as error:
        return [Error(str(error), id="keychain.E001")]
    return []
