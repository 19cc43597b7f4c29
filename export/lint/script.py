"""Code of a TorchScript archive, parsed by Python's own parser and never run: classes, functions, dotted names."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from trkx.shown import shown


@dataclass(frozen=True, eq=False)
class Function:
    """A function or method. name: qualified, as the code calls it; file: member that it is in; owner: its class or ""."""

    name: str
    file: str
    node: ast.FunctionDef
    owner: str = ""

    @property
    def arguments(self) -> list[tuple[str, str, bool]]:
        """Name, type and whether it has a default, of each argument; without self for a method."""
        found = self.node.args.args
        optional = len(found) - len(self.node.args.defaults)
        listed = [(item.arg, annotation(item.annotation), place >= optional) for place, item in enumerate(found)]
        return listed[1:] if self.owner else listed


@dataclass(frozen=True, eq=False)
class Class:
    """A module's class. types: attribute to its type; values: attributes whose value the code itself holds (`Final`)."""

    name: str
    file: str
    types: Mapping[str, str]
    values: Mapping[str, ast.expr]
    methods: Mapping[str, Function]


@dataclass(frozen=True, eq=False)
class Script:
    """All code of an archive. broken: file to why it could not be parsed; trees: file to what was parsed."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    classes: Mapping[str, Class] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    trees: Mapping[str, ast.Module] = field(default_factory=dict)

    @cached_property
    def calls(self) -> tuple[tuple[str, ast.Call, str], ...]:
        """(place, call, dotted name) of every call in the code; the name is "" where it is not plain."""
        return tuple((place(file, node), node, dotted(node.func))
                     for file, tree in self.trees.items() for node in ast.walk(tree) if isinstance(node, ast.Call))


def script_of(sources: Mapping[str, str]) -> Script:
    """Return the parsed code.

    Args:
        sources: member of the archive (`code/__torch__/a/b.py`) to its text.
    """
    functions: dict[str, Function] = {}
    classes: dict[str, Class] = {}
    broken: dict[str, str] = {}
    trees: dict[str, ast.Module] = {}
    for file, text in sources.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # the code is not ours, and is not run
                tree = ast.parse(text)
            trees[file] = tree
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            broken[file] = shown(str(error)) or type(error).__name__
            continue
        prefix = file.removeprefix("code/").removesuffix(".py").replace("/", ".")
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                functions[f"{prefix}.{node.name}"] = Function(f"{prefix}.{node.name}", file, node)
            elif isinstance(node, ast.ClassDef):
                classes[f"{prefix}.{node.name}"] = _class(f"{prefix}.{node.name}", file, node)
    return Script(functions, classes, broken, trees)


def _class(name: str, file: str, node: ast.ClassDef) -> Class:
    types: dict[str, str] = {}
    values: dict[str, ast.expr] = {}
    methods: dict[str, Function] = {}
    for item in node.body:
        if isinstance(item, ast.FunctionDef):
            methods[item.name] = Function(f"{name}.{item.name}", file, item, name)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            types[item.target.id] = annotation(item.annotation)
            if item.value is not None:
                values[item.target.id] = item.value
        elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Subscript):  # __annotations__["0"] = …
            key = item.targets[0].slice
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                types[key.value] = annotation(item.value)
    return Class(name, file, types, values, methods)


def place(file: str, node: ast.AST) -> str:
    """Return where a node is, as findings show it."""
    return shown(f"{file}:{getattr(node, 'lineno', 0)}")


def annotation(node: ast.expr | None) -> str:
    """Return a type as text, "Tensor" where none is written, as TorchScript takes it."""
    if node is None:
        return "Tensor"
    try:
        return ast.unparse(node)
    except RecursionError:
        return "?"


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a plain dotted name, "" for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
