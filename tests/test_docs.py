"""The documentation is true: commands run, links lead somewhere, names exist."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest
from django.apps import apps
from django.core.management import CommandError, get_commands, load_command_class
from django.urls import resolve

from notifyweb.celery import app as celery_app
from notifyweb.task_queues import QUEUES
from tests.browser_device import BrowserDevice, wait_for
from tests.people import ALICE
from tests.system import BASE
from tests.test_architecture import DEPTH, PACKAGES

PAGES = [
    BASE / "README.md",
    BASE / "CONTRIBUTING.md",
    *sorted((BASE / "docs").glob("*.md")),
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
PROGRAM = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?([\w./-]+)")
PROGRAMS = {"make", "manage.py", "python", "celery", "pytest", "deploy/process"}
# Programs that are not ours: their arguments are looked at below, if at all.
FOREIGN = {"cd", "cp", "export", "git", "here", "ln", "node", "pip", "pre-commit"}
FOREIGN |= {"curl", "docker", "systemctl", "python3"}


@dataclass(frozen=True)
class Command:
    page: str
    line: str

    def words(self) -> list[str]:
        """The arguments, without prompts, optional parts and a trailing explanation."""
        text = re.split(r"\s{3,}", self.line.removeprefix("$ "))[0]
        text = re.sub(r"\[[^\]]*\]", "", text).replace("…", "1")
        words = shlex.split(text)
        while re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        words[0] = words[0].removeprefix(".venv/bin/")
        if words[0] == "python" and words[1] == "manage.py":
            del words[0]
        return words


def fences(text, *languages):
    """Code blocks without their indentation."""
    for indent, language, body in FENCE.findall(text):
        if language in languages:
            yield re.sub(f"^{indent}", "", body, flags=re.MULTILINE)


def commands():
    for page in PAGES:
        text = page.read_text()
        name = str(page.relative_to(BASE))
        for block in fences(text, "sh", ""):
            for line in block.replace("\\\n", " ").splitlines():
                found = PROGRAM.match(line)
                if found and found.group(1) in PROGRAMS | FOREIGN:
                    yield Command(name, line)
        for span in CODE.findall(FENCE.sub("", text)):
            found = PROGRAM.match(span)
            if found and found.group(1) in PROGRAMS and " " in span:
                yield Command(name, span)


COMMANDS = sorted(set(commands()), key=lambda each: (each.page, each.line))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.line[:60])
def test_every_command_is_accepted(command):
    program, *arguments = command.words()
    check = {
        "make": check_make,
        "manage.py": check_manage,
        "python": check_python,
        "celery": check_celery,
        "pytest": check_pytest,
        "deploy/process": check_process,
        "curl": check_curl,
        "docker": check_files,
        "systemctl": check_systemctl,
        "pip": check_files,
        "cp": check_files,
        "python3": check_python,
    }.get(program)
    if check is None:
        assert program.partition("=")[0] in FOREIGN
    else:
        check(arguments)


def check_make(arguments):
    done = subprocess.run(
        ["make", "--dry-run", *arguments],  # noqa: S607 - whichever is installed
        cwd=BASE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def check_manage(arguments):
    name, *rest = arguments
    assert name in get_commands()
    command = load_command_class(get_commands()[name], name)
    parser = command.create_parser("manage.py", name)
    assert parser.format_help()
    # A name alone mentions the command; its arguments are elsewhere.
    if rest:
        try:
            parser.parse_args(rest)
        except CommandError as error:
            pytest.fail(str(error))


def check_python(arguments):
    if arguments[0] == "-c":
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    elif arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]) or arguments[1] == "venv"
        if arguments[1] == "bench" and len(arguments) > 2:
            assert importlib.util.find_spec(f"bench.{arguments[2]}")
    elif not arguments[0].startswith("$"):
        assert arguments[0] == "notify.py" or (BASE / arguments[0]).exists()


def check_celery(arguments):
    assert arguments[:2] == ["-A", "notifyweb"]
    for argument in arguments:
        if argument.startswith("--queues="):
            assert set(argument.removeprefix("--queues=").split(",")) <= set(QUEUES)


def check_pytest(arguments):
    for argument in arguments:
        if argument.startswith("tests/") and "<" not in argument:
            assert (BASE / argument).exists()


def check_process(arguments):
    names = re.findall(r"^([\w-]+):", (BASE / "Procfile").read_text(), re.MULTILINE)
    assert arguments == ["NAME"] or arguments[0] in names


def check_systemctl(arguments):
    for names in re.findall(r"@\{(.+)\}", " ".join(arguments)):
        for name in names.split(","):
            check_process([name])


def check_curl(arguments):
    [url] = [each for each in arguments if each.startswith("http://localhost:8000/")]
    resolve(url.removeprefix("http://localhost:8000").replace("$PROJECT_ID", "0" * 32))


def check_files(arguments):
    for argument in arguments:
        is_ours = "/" in argument and argument[0] not in "/$"
        if is_ours and argument != "deploy/environment":
            assert (BASE / argument).exists(), argument


def anchors(path):
    """GitHub's anchors of the headings of a page."""
    for heading in re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        yield plain.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    targets += re.findall(r'(?:src|srcset)="([^"]+)"', page.read_text())
    for target in targets:
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def exists(name):
    """Whether it is a module, something in a module, a model, a task or a kind of event."""
    if name in celery_app.tasks or any(f'"{name}"' in text for text in sources()):
        return True
    app, _, model = name.partition(".")
    if model.lower() in getattr(apps.app_configs.get(app), "models", {}):
        return True
    if importable(name):
        return True
    # Pages about the protocol leave out the name of its package.
    return importable(f"walletconnect.{name}")


@functools.cache
def sources():
    return [
        path.read_text() for name in PACKAGES for path in (BASE / name).rglob("*.py")
    ]


def importable(name):
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_in_our_packages_exists(page):
    celery_app.loader.import_default_modules()
    text = FENCE.sub("", page.read_text())
    dotted = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+")
    missing = [
        span
        for span in CODE.findall(text)
        if dotted.fullmatch(span) and not exists(span)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page):
    below = [BASE, BASE / "tests", *(BASE / name for name in PACKAGES)]
    missing = []
    for span in CODE.findall(FENCE.sub("", page.read_text())):
        if re.fullmatch(r"[\w.-]+(/[\w.@-]+)+\.(py|md|mjs|yaml|conf|txt|html)", span):
            if ".well-known" in span or span in EXAMPLES or span.startswith(SPECS):
                continue
            if not any((folder / span).exists() for folder in below):
                missing.append(span)
    assert missing == []


# Folders of the WalletConnect specifications.
SPECS = ("clients/core/", "servers/")
# Files of the walks through ``docs/extending.md`` and ``docs/channels.md``.
EXAMPLES = {
    "dashboard/pages/archive.py",
    "dashboard/views/archive.py",
    "templates/dashboard/archive.html",
}


def test_the_architecture_page_lists_the_packages_from_top_to_bottom():
    text = (BASE / "docs" / "architecture.md").read_text()
    section = text.partition("## Packages")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(listed) == sorted(PACKAGES)
    assert [DEPTH[name] for name in listed] == sorted(DEPTH[name] for name in listed)


@pytest.mark.system
def test_the_tutorial_works(system, tmp_path):
    text = (BASE / "docs" / "tutorial.md").read_text()
    shell = [line for block in fences(text, "sh") for line in block.splitlines()]
    [create, notify] = [Command("", line) for line in shell if "manage.py" in line]
    _, *arguments = create.words()
    project = json.loads(system.manage(*arguments).stdout)
    environment = {
        **os.environ,
        "CAST_URL": f"{system.base_url}/cast",
        "PROJECT_ID": project["project_id"],
        "PROJECT_SECRET": project["project_secret"],
    }

    def run(*command):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)

    [python], [javascript] = fences(text, "python"), fences(text, "js")
    (tmp_path / "notify.py").write_text(python)
    (tmp_path / "notify.mjs").write_text(javascript)
    wallet = BrowserDevice(system.base_url, ALICE.account, ALICE.private_key)
    with wallet as device:
        device.sign_in().subscribe(project["url"], ["trades", "security"])
        wait_for("the subscription", device.topics)
        run(sys.executable, "notify.py")
        titles = {"Order filled", "Price alert"}
        if node := shutil.which("node"):
            run(node, "notify.mjs")
            titles |= {"New sign-in"}
        _, *arguments = notify.words()
        system.manage(
            *(project["project_id"] if a == "$PROJECT_ID" else a for a in arguments)
        )
        wait_for("the notifications", lambda: titles <= device.titles())
