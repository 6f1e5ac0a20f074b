"""Everything in the core is used by production code: no name exists for tests only.

A public function, class or constant counts as used when a module outside `tests` other
than its own names it, or when the signature, the fields or the bases of a used name in its
own module do (values that callers receive and take attributes of). A method or property
counts as used when production code takes an attribute of that name. What only its own
module needs begins with an underscore.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = "walletconnect"
PACKAGES = sorted(
    path.parent.name
    for path in ROOT.glob("*/__init__.py")
    if path.parent.name not in ("bench", "tests")
)


@cache
def trees() -> dict[str, ast.Module]:
    """Every production module by its dotted name."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
            ".__init__"
        ): ast.parse(path.read_text(encoding="utf-8"))
        for path in paths
        if "migrations" not in path.parts
    }


def imports(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Local name -> (module, name) of everything imported by `from ... import`."""
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def defining_module(module: str, name: str) -> str:
    """The core module that defines `name`, followed through re-exports."""
    while module in trees():
        source = imports(trees()[module]).get(name)
        if source is None:
            return module
        module, name = source
    return module


def definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {each.id: node for each in targets if isinstance(each, ast.Name)}
    return {name: node for name, node in found.items() if not name.startswith("_")}


def names_in(node: ast.AST | None) -> set[str]:
    if node is None:
        return set()
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def interface(node: ast.stmt) -> set[str]:
    """The names that a caller of a definition meets: signatures, fields, bases."""
    if isinstance(node, ast.FunctionDef):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        return names_in(node.returns).union(
            *(names_in(each.annotation) for each in arguments)
        )
    if isinstance(node, ast.ClassDef):
        parts = [names_in(base) for base in node.bases]
        parts += [interface(each) for each in node.body]
        return set().union(*parts)
    if isinstance(node, ast.AnnAssign):
        return names_in(node.annotation) | names_in(node.value)
    return names_in(node)


def used_names() -> set[tuple[str, str]]:
    """(core module, name) of every name that another production module uses."""
    used: set[tuple[str, str]] = set()
    for tree in trees().values():
        local = imports(tree)
        loaded = names_in(tree)
        attributes = {
            (node.value.id, node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        for alias, (source, name) in local.items():
            if not source.startswith(CORE) or alias not in loaded:
                continue
            if f"{source}.{name}" in trees():
                inner = f"{source}.{name}"
                used |= {
                    (defining_module(inner, attribute), attribute)
                    for value, attribute in attributes
                    if value == alias
                }
            else:
                used.add((defining_module(source, name), name))
    return used


def test_every_public_name_of_the_core_is_used_by_production_code():
    used = used_names()
    unused = []
    for module, tree in trees().items():
        if not module.startswith(CORE):
            continue
        defined = definitions(tree)
        reached = {name for name in defined if (module, name) in used}
        pending = list(reached)
        while pending:
            met = interface(defined[pending.pop()]) & (set(defined) - reached)
            reached |= met
            pending += met
        unused += [f"{module}.{name}" for name in defined if name not in reached]
    assert unused == []


def test_every_method_and_property_of_the_core_is_used_by_production_code():
    taken = {
        node.attr
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    }
    unused = [
        f"{module}.{owner.name}.{method.name}"
        for module, tree in trees().items()
        if module.startswith(CORE)
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
        for method in owner.body
        if isinstance(method, ast.FunctionDef)
        and not method.name.startswith("_")
        and method.name not in taken
    ]
    assert unused == []
