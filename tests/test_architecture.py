"""Rules of the whole code: directions of imports, names, documented settings, migrations."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import models

from notifyweb.celery import app as celery_app
from notifyweb.schedule import PERIODIC
from tests.system import BASE

# From top to bottom; packages of one line do not import each other.
LAYERS = (
    ("notifyweb",),
    ("demonstration",),
    ("dashboard",),
    ("portability",),
    ("alerts",),
    ("subscriptions", "castserver"),
    ("preferences",),
    ("syncstore",),
    ("history", "identity"),
    ("messaging", "relayserver"),
    ("runlog",),
    ("keychain",),
    ("accounts",),
    ("common",),
    ("walletconnect",),
)
PACKAGES = [name for layer in LAYERS for name in layer]
DEPTH = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
MAX_MODULE_LENGTH = 500
BANNED = {"engine", "helper", "helpers", "util", "utils", "manager"}
OUTSIDE_SETTINGS = {
    # Internal: set by the launcher for its children.
    "NOTIFYWEB_SUPERVISED",
    "NOTIFYWEB_PROCESS",
    "NOTIFYWEB_LISTEN_FD",
}


def modules():
    for package in PACKAGES:
        for path in sorted((BASE / package).rglob("*.py")):
            if "migrations" not in path.parts and "__pycache__" not in path.parts:
                yield path


MODULES = list(modules())


def name_of(path):
    return str(path.relative_to(BASE))


def test_imports_go_downwards():
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=BASE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_foreign_keys_point_downwards():
    wrong = []
    for model in apps.get_models():
        if model._meta.app_config.name not in PACKAGES:
            continue
        for field in model._meta.get_fields():
            if isinstance(field, models.ForeignKey | models.ManyToManyField):
                target = field.related_model._meta.app_config.name
                own = model._meta.app_config.name
                if target in DEPTH and DEPTH[target] <= DEPTH[own] and target != own:
                    wrong.append(f"{model._meta.label}.{field.name} -> {target}")
    assert wrong == []


@pytest.mark.django_db
def test_no_migration_is_missing(capsys):
    call_command("makemigrations", check=True, dry_run=True)
    assert "No changes" in capsys.readouterr().out


def test_migrations_have_names():
    unnamed = [
        name_of(path)
        for package in PACKAGES
        for path in (BASE / package).glob("migrations/[0-9]*.py")
        if "_auto_" in path.name
    ]
    assert unnamed == []


def test_every_periodic_task_is_registered():
    celery_app.loader.import_default_modules()
    missing = {entry.task for entry in PERIODIC} - set(celery_app.tasks)
    assert missing == set()


def test_every_task_is_named_by_its_app_and_a_verb():
    celery_app.loader.import_default_modules()
    ours = {
        name: task.__module__.partition(".")[0]
        for name, task in celery_app.tasks.items()
        if task.__module__.partition(".")[0] in PACKAGES
    }
    assert ours
    for name, package in ours.items():
        assert re.fullmatch(rf"{package}\.[a-z_]+", name), name


def settings_read():
    """Every environment variable that our code reads, by its name."""
    found = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(re.findall(r"^NOTIFYWEB_[A-Z_]+$", node.value))
            if isinstance(node, ast.Call) and is_reader(node.func):
                found.update(a.value for a in node.args[:1] if hasattr(a, "value"))
    return found - OUTSIDE_SETTINGS


def is_reader(function):
    return ast.unparse(function).startswith("env.") or (
        ast.unparse(function) == "_secret"
    )


def test_every_setting_is_documented():
    page = (BASE / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([A-Z_]+)`", page, re.MULTILINE))
    assert {name for name in settings_read() if isinstance(name, str)} == documented


def test_every_limit_is_documented():
    page = (BASE / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([a-z_]+)`", page, re.MULTILINE))
    assert rows == set(settings.LIMITS.__dataclass_fields__)


def test_every_limit_is_enforced_somewhere():
    unused = set(settings.LIMITS.__dataclass_fields__)
    for path in MODULES:
        if path != BASE / "common" / "limits.py":
            unused -= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    assert unused == set()


REQUIREMENTS = ["requirements.txt", "requirements-dev.txt", "requirements-tools.txt"]
HASH = re.compile(r" --hash=sha256:[0-9a-f]{64}")


def requirements(name):
    """One line for each package, with its hashes."""
    text = (BASE / name).read_text(encoding="utf-8").replace(" \\\n   ", "")
    lines = text.splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r "))]


def pinned(name):
    return [HASH.sub("", line) for line in requirements(name)]


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_pinned_without_an_address(name):
    for line in pinned(name):
        assert re.fullmatch(r"[\w.-]+==[A-Za-z0-9.]+( ; [^;]+)?", line), line


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_has_the_hashes_of_its_files(name):
    """One without would make pip refuse the whole list; `make lock` writes them."""
    assert len(requirements(name)) > 40
    for line in requirements(name):
        assert HASH.search(line), line


def test_every_npm_package_of_the_tests_has_its_digest():
    lock = json.loads((BASE / "tests" / "clients" / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert len(packages) > 200
    # Bundled packages come inside another one, whose digest covers them.
    without = [
        name
        for name, each in packages.items()
        if not each.get("integrity", "").startswith("sha512-")
        and not each.get("inBundle")
    ]
    assert without == []


def test_every_package_we_import_has_a_documented_reason():
    page = (BASE / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \|", page, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    # The lists have names in the normal form of the package index.
    reasons = {re.sub(r"[-_.]+", "-", name).lower() for name in named}
    lines = [line for name in REQUIREMENTS for line in pinned(name)]
    known = {line.partition("==")[0] for line in lines}
    assert reasons <= known
    assert reasons >= {"django", "celery", "channels", "daphne", "redis", "websockets"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short_and_has_a_docstring(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_MODULE_LENGTH
    tree = ast.parse(text)
    assert not tree.body or ast.get_docstring(tree)


def test_names_avoid_meaningless_words():
    wrong = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                words = set(re.findall(r"[A-Z]?[a-z]+", node.name))
                if {word.lower() for word in words} & BANNED:
                    wrong.append(f"{name_of(path)}: {node.name}")
    assert wrong == []


# Words of speech for programs: protocols send, receive, return and store.
PERSONIFYING = re.compile(
    r"\b(hears?|heard|tells?|told|says?|said|words?|voices?|farewells?|doors?|nobody|"
    r"whoever)\b",
    re.IGNORECASE,
)
MAX_PERSONIFYING_PER_1000 = 1.5


def prose_of(text):
    """Comments and docstrings of a module."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented):
            yield ast.get_docstring(node) or ""


def test_comments_use_the_terms_of_the_field():
    prose = [
        part for path in MODULES for part in prose_of(path.read_text(encoding="utf-8"))
    ]
    words = sum(len(re.findall(r"[A-Za-z']+", part)) for part in prose)
    found = [word for part in prose for word in PERSONIFYING.findall(part)]
    assert 1000 * len(found) / words < MAX_PERSONIFYING_PER_1000, found


def test_documents_named_in_code_are_in_docs_or_in_the_specs():
    """A reader must be able to open them: ours, or those of WalletConnect by path."""
    wrong = [
        f"{name_of(path)}: {name}"
        for path in MODULES
        for part in prose_of(path.read_text(encoding="utf-8"))
        # The second file of a folder of the specs may be named without it.
        if not re.search(r"\b(clients|servers)/", part)
        for name in re.findall(r"[\w./-]+\.md\b", part)
        if not (BASE / name).exists()
    ]
    assert wrong == []
