"""Checks of environment variables that work without valid settings."""

from __future__ import annotations

import difflib
import importlib
import os
import re

from notifyweb import environment as env
from notifyweb.doctor.findings import Finding, fault, warning

PREFIX = "NOTIFYWEB_"
# Set by the launcher for its children.
INTERNAL = frozenset(
    {"NOTIFYWEB_SUPERVISED", "NOTIFYWEB_PROCESS", "NOTIFYWEB_LISTEN_FD"}
)
NAME = re.compile(r"[A-Z][A-Z_]{3,}")
SEE = "docs/settings.md lists every variable with its form and default"


def wrong_variables() -> list[Finding]:
    """Every variable that the settings refuse, not only the first.

    A refused variable is removed from this process's environment and the settings are
    read again. Where data is kept is not guessed: the check ends there.
    """
    found: list[Finding] = []
    while True:
        try:
            importlib.import_module("notifyweb.settings")
        except env.SettingError as error:
            match = NAME.match(str(error))
            name = match.group() if match else ""
            found.append(fault(name or "settings", str(error), f"correct it; {SEE}"))
            keeps_data = name in {"DATABASE_URL", "REDIS_URL", "NOTIFYWEB_DATA_DIR"}
            if keeps_data or os.environ.pop(name, None) is None:
                return found
        else:
            return found


def unknown_variables() -> list[Finding]:
    """Variables with our prefix that nothing reads: most often a typing error."""
    known = {name for name in env.names_read if name.startswith(PREFIX)}
    found = []
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known | INTERNAL:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"write {close[0]} if that is meant" if close else "remove it"
            found.append(warning(name, "is not a setting and has no effect", meant))
    return found
