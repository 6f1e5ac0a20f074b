"""Tags of registrations are texts, because they may be patterns."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

FILL = """
UPDATE history_historyregistration
SET tags = COALESCE((SELECT jsonb_agg(tag) FROM jsonb_array_elements_text(tags) AS tag), '[]')
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("history", "0001_initial")]

    operations: ClassVar = [migrations.RunSQL(FILL, migrations.RunSQL.noop)]
