"""``docs/data-model.md`` describes every table that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from django.apps import apps
from django.conf import settings

PAGE = Path(settings.BASE_DIR) / "docs" / "data-model.md"


def described():
    found, app = set(), ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        heading = re.match(r"## (\w+):", line)
        row = re.match(r"\| `(\w+)` \|", line)
        if heading:
            app = heading[1]
        elif row:
            found.add((app, row[1]))
    return found


def test_every_table_is_described_and_nothing_else():
    existing = {
        (config.name, model.__name__)
        for config in apps.get_app_configs()
        if config.name in settings.OUR_APPS
        for model in config.get_models()
    }
    assert described() == existing
