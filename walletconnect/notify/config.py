"""The list of a dapp's notification types, `/.well-known/wc-notify-config.json`.

Spec: clients/notify/notify-config.md. v1 renamed `version` to `schemaVersion` and gave
types an `id` and the dapp a name. Both forms are read. What we write carries both, with
`name` equal to `id`, because v0 clients join names into scopes with spaces between; the
title for people is then in `displayName`, a member of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    require_object,
    shown_line,
)
from walletconnect.notify.scope import (
    MAX_NAME_LENGTH,
    MAX_TEXT_LENGTH,
    MAX_TYPES,
    NotificationType,
)
from walletconnect.notify.values import read_icons

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class NotifyConfig:
    """What a dapp sends, and how it presents itself (empty in v0 documents)."""

    types: tuple[NotificationType, ...]
    name: str = ""
    description: str = ""
    icons: tuple[str, ...] = ()
    last_modified: int = 0

    # Entries of the document's list that cannot be offered: they break the rules, or
    # there are too many.
    left_out: int = 0

    @classmethod
    def from_value(cls, value: JsonValue) -> NotifyConfig:
        """Types that break the rules are left out, so that the others can be used.

        Texts that are only shown are cut and flattened, never a reason to refuse.
        """
        members = require_object(value, "notify config")
        listed = members.get("types")
        if not isinstance(listed, list) or not listed:
            raise RemoteProtocolError(ErrorCode.MALFORMED, "types lists nothing")
        by_name: dict[str, NotificationType] = {}
        for each in listed:
            try:
                offered = NotificationType.from_value(each)
            except RemoteProtocolError:
                continue
            by_name.setdefault(offered.scope_name, offered)
        types = tuple(by_name.values())
        if not types:
            raise RemoteProtocolError(
                ErrorCode.MALFORMED, "types lists none with a usable name"
            )
        last_modified = members.get("lastModified")
        return cls(
            types=types[:MAX_TYPES],
            name=shown_line(members.get("name"), max_length=MAX_NAME_LENGTH),
            description=shown_line(
                members.get("description"), max_length=MAX_TEXT_LENGTH
            ),
            icons=read_icons(members.get("icons")),
            last_modified=last_modified if type(last_modified) is int else 0,
            left_out=len(listed) - len(types[:MAX_TYPES]),
        )

    def to_value(self) -> JsonObject:
        types: list[JsonValue] = []
        for offered in self.types:
            members: JsonObject = {
                "id": offered.scope_name,
                "name": offered.scope_name,
                "displayName": offered.name,
                "description": offered.description,
            }
            if offered.icon:
                members["imageUrls"] = dict.fromkeys(("sm", "md", "lg"), offered.icon)
            types.append(members)
        return {
            "version": _VERSION,
            "schemaVersion": _VERSION,
            "lastModified": self.last_modified,
            "name": self.name,
            "description": self.description,
            "icons": list(self.icons),
            "types": types,
        }
