"""Notification types, and which of them an account wants.

Spec: clients/notify/data-structures.md, "ScopeMap"; wc-notify-config.json.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    malformed,
    require_object,
    shown_line,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MAX_NAME_LENGTH: Final = 256
MAX_TEXT_LENGTH: Final = 1024
MAX_TYPES: Final = 64

_SCOPE_NAME = re.compile(r"[\w./-]{1,36}", re.ASCII)


def require_scope_name(value: JsonValue) -> str:
    """A notification type's name: an identifier or a UUID, without spaces."""
    if isinstance(value, str) and _SCOPE_NAME.fullmatch(value):
        return value
    raise malformed("scope name")


def join_scope(names: Iterable[str]) -> str:
    """The claim `scp`: type names with one space between; may be empty."""
    return " ".join(names)


def split_scope(scp: str) -> tuple[str, ...]:
    """The distinct names in a claim `scp`, in order."""
    names = dict.fromkeys(require_scope_name(name) for name in scp.split(" ") if name)
    if len(names) > MAX_TYPES:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, "scope is too long")
    return tuple(names)


@dataclass(frozen=True, slots=True)
class NotificationType:
    """A kind of notification that a dapp offers, from its `wc-notify-config.json`.

    Subscriptions name it by `id` (a UUID) in v1 and by `name` in v0; `scope_name` is
    whichever applies.
    """

    name: str
    description: str
    id: str | None = None
    icon: str = ""

    @property
    def scope_name(self) -> str:
        return self.id or self.name

    @classmethod
    def from_value(cls, value: JsonValue) -> NotificationType:
        members = require_object(value, "notification type")
        type_id = members.get("id") or None
        scope_name = require_scope_name(type_id or members.get("name"))
        # Where `name` repeats the id for v0 clients (`NotifyConfig`).
        title = members.get("displayName") or members.get("name")
        title = shown_line(title, max_length=MAX_NAME_LENGTH)
        return cls(
            name=scope_name if type_id is None else title or scope_name,
            description=shown_line(
                members.get("description"), max_length=MAX_TEXT_LENGTH
            ),
            id=None if type_id is None else scope_name,
        )


@dataclass(frozen=True, slots=True)
class ScopeSetting:
    """Whether one notification type is wanted."""

    name: str
    description: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class ScopeMap:
    """The settings of a subscription by type name, in the order of the dapp's list."""

    settings: tuple[ScopeSetting, ...] = ()

    def __post_init__(self) -> None:
        if len({setting.name for setting in self.settings}) != len(self.settings):
            raise LocalProtocolError("a scope names each type once")

    @classmethod
    def of_types(
        cls, types: Iterable[NotificationType], enabled: Collection[str] | None = None
    ) -> ScopeMap:
        """The types that a dapp offers, all enabled unless `enabled` names some."""
        by_name = {offered.scope_name: offered for offered in types}
        return cls(
            tuple(
                ScopeSetting(
                    name=name,
                    description=offered.description,
                    enabled=enabled is None or name in enabled,
                )
                for name, offered in by_name.items()
            )
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(setting.name for setting in self.settings)

    @property
    def enabled(self) -> tuple[str, ...]:
        return tuple(setting.name for setting in self.settings if setting.enabled)

    def get(self, name: str) -> ScopeSetting | None:
        return next((each for each in self.settings if each.name == name), None)

    def with_enabled(self, names: Collection[str]) -> ScopeMap:
        """The same types with exactly `names` enabled; unknown names are left out."""
        return ScopeMap(
            tuple(
                replace(setting, enabled=setting.name in names)
                for setting in self.settings
            )
        )

    @classmethod
    def from_value(cls, value: JsonValue) -> ScopeMap:
        members = require_object(value, "scope")
        if len(members) > MAX_TYPES:
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, "scope is too long")
        settings: list[ScopeSetting] = []
        for name, setting in members.items():
            setting = require_object(setting, "scope setting")
            enabled = setting.get("enabled")
            if not isinstance(enabled, bool):
                raise malformed("scope setting")
            description = shown_line(
                setting.get("description"), max_length=MAX_TEXT_LENGTH
            )
            settings.append(
                ScopeSetting(require_scope_name(name), description, enabled=enabled)
            )
        return cls(tuple(settings))

    def to_value(self) -> JsonObject:
        return {
            setting.name: {
                "description": setting.description,
                "enabled": setting.enabled,
            }
            for setting in self.settings
        }
