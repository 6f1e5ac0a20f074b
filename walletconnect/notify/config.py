"""The list of a dapp's notification types, `/.well-known/wc-notify-config.json`.

Spec: clients/notify/notify-config.md; protocol.md, section 5.4. The shape changed in
autumn 2023: `version` became `schemaVersion`, types got an `id`, and the dapp a name. Both
are read; what we write carries both, with `name` equal to `id` for the August client,
which puts names into scopes. What people read is then `displayName`, a member of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    has_control_characters,
    parse_object,
    require_object,
    take_list,
)
from walletconnect.notify.scope import (
    LONGEST_NAME,
    LONGEST_TEXT,
    MOST_TYPES,
    NotificationType,
    ScopeMap,
)
from walletconnect.notify.values import LONGEST_URL, MOST_ICONS, Metadata

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class NotifyConfig:
    """What a dapp sends, and how it presents itself (later shape; else empty)."""

    types: tuple[NotificationType, ...]
    name: str = ""
    description: str = ""
    icons: tuple[str, ...] = ()
    last_modified: int = 0

    @classmethod
    def from_json(cls, text: str | bytes) -> NotifyConfig:
        return cls.from_value(parse_object(text, "notify config"))

    @classmethod
    def from_value(cls, value: JsonValue) -> NotifyConfig:
        """Types that break the rules are left out, so that the others can be had."""
        members = require_object(value, "notify config")
        last_modified = members.get("lastModified")
        icons = members.get("icons")
        return cls(
            types=_read_types(take_list(members, "types", longest=MOST_TYPES)),
            name=_plain(members.get("name"), LONGEST_NAME),
            description=_plain(members.get("description"), LONGEST_TEXT),
            icons=tuple(
                icon
                for icon in (icons if isinstance(icons, list) else [])[:MOST_ICONS]
                if isinstance(icon, str) and _plain(icon, LONGEST_URL) == icon
            ),
            last_modified=last_modified if type(last_modified) is int else 0,
        )

    def to_value(self) -> JsonObject:
        types: list[JsonValue] = [
            {
                "id": offered.scope_name,
                "name": offered.scope_name,
                "displayName": offered.name,
                "description": offered.description,
            }
            for offered in self.types
        ]
        return {
            "version": VERSION,
            "schemaVersion": VERSION,
            "lastModified": self.last_modified,
            "name": self.name,
            "description": self.description,
            "icons": list(self.icons),
            "types": types,
        }

    def metadata(self, app: str) -> Metadata:
        """The dapp as a subscription keeps it; a dapp without a name is its domain."""
        name = self.name or app.partition("://")[2]
        return Metadata(name, self.description, app, self.icons)

    @property
    def scope(self) -> ScopeMap:
        """Every type, enabled."""
        return ScopeMap.of_types(self.types)


def _read_types(values: list[JsonValue]) -> tuple[NotificationType, ...]:
    types: dict[str, NotificationType] = {}
    for value in values:
        try:
            offered = NotificationType.from_value(value)
        except RemoteProtocolError:
            continue
        types.setdefault(offered.scope_name, offered)
    return tuple(types.values())


def _plain(value: JsonValue, longest: int) -> str:
    if not isinstance(value, str) or has_control_characters(value):
        return ""
    return value[:longest]
