"""What an update changes in a value, for the log: no secrets, and of bounded size.

Values of our stores are JSON texts. Members whose name or text looks like a key are masked;
any other text is only described by its length, since it may be anything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import dump_json, parse_json, shown_line

if TYPE_CHECKING:
    from walletconnect.json_values import JsonObject, JsonValue

MAX_CHANGES: Final = 40
MAX_TEXT_LENGTH: Final = 120
MAX_PATH_LENGTH: Final = 160
MASK: Final = "••••"
# A member whose name is the empty text.
EMPTY: Final = '""'

_SECRET_NAME: Final = re.compile(
    r"key|secret|token|passw|passphrase|seed|mnemonic|auth|private|credential", re.I
)
# Keys are 32 bytes, addresses 20. A topic has the form of a key and is known to the relay.
_SECRET_TEXT: Final = re.compile(r"[0-9a-f]{64}", re.I)
_PUBLIC_NAMES: Final = frozenset({"topic"})


def changes_between(old: str | None, new: str | None) -> list[JsonValue]:
    """Changed members as ``path``, ``old`` and ``new``; None is an absent member or value."""
    before, after = _members(old), _members(new)
    paths = [*before, *(path for path in after if path not in before)]
    found: list[JsonValue] = [
        {
            "path": shown_line(path, max_length=MAX_PATH_LENGTH),
            "old": _shown(path, before.get(path)),
            "new": _shown(path, after.get(path)),
        }
        for path in paths
        if before.get(path) != after.get(path)
    ]
    left_out = len(found) - MAX_CHANGES
    if left_out > 0:
        rest: JsonObject = {"path": "…", "old": None, "new": f"+{left_out}"}
        return [*found[:MAX_CHANGES], rest]
    return found


def _members(text: str | None) -> dict[str, str]:
    """The leaves of a JSON object by their path, as JSON texts."""
    if text is None:
        return {}
    try:
        value = parse_json(text)
    except RemoteProtocolError:
        value = None
    if not isinstance(value, dict):
        return {"": f"text of {len(text)} characters"}
    leaves: dict[str, str] = {}
    waiting: list[tuple[str, JsonValue]] = [("", value)]
    while waiting:
        path, each = waiting.pop()
        if isinstance(each, dict) and each:
            waiting += [
                (f"{path}.{name or EMPTY}" if path else name or EMPTY, inner)
                for name, inner in reversed(each.items())
            ]
        else:
            leaves[path] = each if isinstance(each, str) else dump_json(each)
    return leaves


def _shown(path: str, text: str | None) -> str | None:
    if text is None:
        return None
    name = path.rpartition(".")[2]
    is_secret = _SECRET_NAME.search(path) or (
        name not in _PUBLIC_NAMES and _SECRET_TEXT.search(text)
    )
    return MASK if is_secret else shown_line(text, max_length=MAX_TEXT_LENGTH)
