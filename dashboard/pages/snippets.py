"""Code examples of the notify API with the project's ids, for the keys page."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings

if TYPE_CHECKING:
    from castserver.models import Project

PLACEHOLDER = "YOUR_SECRET"
EXAMPLE_ACCOUNT = "eip155:1:0x…"


@dataclass(frozen=True, slots=True)
class Snippet:
    name: str
    label: str
    text: str


def snippets_for(project: Project, secret: str = "") -> list[Snippet]:
    url = f"{settings.CAST_API_URL}/{project.pk}/notify"
    first = project.types.first()
    body = {
        "notification": {
            "type": first.type_id if first else "updates",
            "title": "Hello",
            "body": f"The first notification of {project.name}",
            "url": project.url,
        },
        "accounts": [EXAMPLE_ACCOUNT],
    }
    text = json.dumps(body, indent=2, ensure_ascii=False)
    bearer = secret or PLACEHOLDER
    curl = (
        f"curl -X POST {url} \\\n"
        f'  -H "Authorization: Bearer {bearer}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(text)}"
    )
    python = (
        "import httpx\n\n"
        "answer = httpx.post(\n"
        f'    "{url}",\n'
        f'    headers={{"Authorization": "Bearer {bearer}"}},\n'
        f"    json={json.dumps(body, indent=4, ensure_ascii=False)},\n"
        ")\n"
        "print(answer.json())"
    )
    javascript = (
        f'const answer = await fetch("{url}", {{\n'
        '  method: "POST",\n'
        "  headers: {\n"
        f'    "Authorization": "Bearer {bearer}",\n'
        '    "Content-Type": "application/json",\n'
        "  },\n"
        f"  body: JSON.stringify({text}),\n"
        "});\n"
        "console.log(await answer.json());"
    )
    return [
        Snippet("curl", "curl", curl),
        Snippet("python", "Python", python),
        Snippet("javascript", "JavaScript", javascript),
    ]


def readable(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
