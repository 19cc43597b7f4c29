"""Code of TorchScript followed statement by statement without running it, both ways where a branch depends on the event."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trkx.export.lint.operators import result_of, writes
from trkx.export.lint.script import Class, Function, Script, dotted, place
from trkx.export.lint.values import Device, Value, constant, joined, listed
from trkx.models.checkpoints.stored import Made, Name, StoredTensor

MOST_STEPS = 200_000
"""Statements and expressions that are followed; a network of a thousand layers takes fewer."""
DEEPEST = 60
MOST_ROUNDS = 8
_CHANGING_LISTS = frozenset(f"torch.{name}" for name in (
    "_set_item", "append", "extend", "insert", "pop", "clear", "remove", "reverse", "Delete", "sort_",
))


class LostError(Exception):
    """The code can't be followed any further."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One use of an operator. name: "torch.index_add_", "ops.aten.save", "print"; where: file and line."""

    name: str
    args: tuple[Value, ...]
    named: Mapping[str, Value]
    result: Value
    where: str

    @property
    def short(self) -> str:
        """The name without its namespace."""
        return self.name.rpartition(".")[2]

    def arg(self, at: int, name: str = "") -> Value:
        """Return an argument by place or name, a Value of which nothing is known if it is not given."""
        return self.args[at] if at < len(self.args) else self.named.get(name, Value())


def module_value(made: Made, path: str) -> Value:
    """Return the Value of a module that data.pkl describes."""
    return Value(module=path, kind=str(made.callee) if isinstance(made.callee, Name) else "", state=made)


def _stored(value: object, name: str) -> Value:
    """Return the Value of a stored attribute or constant."""
    if isinstance(value, StoredTensor):
        return Value(tensor=True, memory=frozenset((name,)), shape=value.shape, dtype=value.dtype)
    if isinstance(value, Made):
        if isinstance(value.callee, Name) and str(value.callee) == "torch.device" and isinstance(value.args, tuple):
            device = value.args[0] if value.args else None
            return Value(const=Device(device), stored=True) if isinstance(device, str) else Value()
        if isinstance(value.callee, Name) and value.callee.module == "torch.jit._pickle" and isinstance(value.args, tuple):
            return _stored(value.args[0], name) if value.args else Value()
        return module_value(value, name)
    if value is None or isinstance(value, bool | int | float | str):
        return replace(constant(value), stored=True)
    if isinstance(value, list | tuple) and len(value) <= 100 and not any(isinstance(item, list | tuple) for item in value):
        return listed(_stored(item, name) for item in value)
    return Value()


@dataclass
class Walker:
    """Follows code; `operations` and `writes` grow as it goes."""

    script: Script
    constants: Sequence[object]
    operations: list[Operation] = field(default_factory=list)
    writes: list[tuple[str, str]] = field(default_factory=list)
    steps: int = 0

    def count(self, cost: int = 1) -> None:
        """Count a step; LostError beyond MOST_STEPS."""
        self.steps += cost
        if self.steps > MOST_STEPS:
            raise LostError(f"it takes more than {MOST_STEPS} steps")

    def call(self, function: Function, args: Sequence[Value], named: Mapping[str, Value], depth: int) -> Value:
        """Return what a function of the file returns."""
        if depth > DEEPEST:
            raise LostError(f"its calls are nested more than {DEEPEST} deep")
        body = _Body(self, function, depth)
        names = [item.arg for item in function.node.args.args]
        defaults = function.node.args.defaults
        env = dict(zip(names[len(names) - len(defaults):], (body.value(item, {}) for item in defaults), strict=True))
        env |= dict(zip(names, args, strict=False))
        env |= {name: value for name, value in named.items() if name in names}
        body.block(function.node.body, env)
        return joined(body.returned) if body.returned else constant(None)


@dataclass
class _Body:
    """One call of one function."""

    walker: Walker
    function: Function
    depth: int
    returned: list[Value] = field(default_factory=list)

    def block(self, statements: Sequence[ast.stmt], env: dict[str, Value]) -> bool:
        """Follow statements, changing `env`; return whether the end of the block is reached."""
        return all(self.statement(item, env) for item in statements)

    def statement(self, node: ast.stmt, env: dict[str, Value]) -> bool:
        """Follow one statement; return whether what comes after it is reached."""
        self.walker.count()
        match node:
            case ast.Assign(targets=[target], value=value):
                self.assign(target, self.value(value, env), env)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self.assign(target, self.value(value, env), env)
            case ast.Expr(value=value):
                self.value(value, env)
                return not (isinstance(value, ast.Call) and dotted(value.func) == "ops.prim.RaiseException")
            case ast.Return(value=value):
                self.returned.append(self.value(value, env) if value is not None else constant(None))
                return False
            case ast.If(test=test, body=body, orelse=orelse):
                return self.branch(self.value(test, env), body, orelse, env)
            case ast.For(target=target, iter=iterated, body=body):
                count = self.value(iterated, env)
                if count.number != 0:
                    self.assign(target, Value(), env)
                    self.loop(body, env)
            case ast.While(test=test, body=body):
                if self.value(test, env).const is not False:
                    self.loop(body, env)
            case ast.With(body=body, items=items):
                for item in items:
                    self.value(item.context_expr, env)
                return self.block(body, env)
            case ast.Pass() | ast.Break() | ast.Continue():
                pass
            case _:
                raise LostError(f"line {node.lineno} of {self.function.file} holds a statement that TorchScript does not write")
        return True

    def branch(self, test: Value, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt], env: dict[str, Value]) -> bool:
        """Follow the branch that is taken, or both where that depends on the event."""
        if test.known:
            return self.block(body if test.const else orelse, env)
        self.walker.count(1 + len(env) // 8)  # both ways take a copy of what is known
        first, second = dict(env), dict(env)
        ends = [world for world, part in ((first, body), (second, orelse)) if self.block(part, world)]
        if ends:
            merged = ends[0] if len(ends) == 1 else _merged(ends[0], ends[1])
            env.clear()
            env.update(merged)
        return bool(ends)

    def loop(self, body: Sequence[ast.stmt], env: dict[str, Value]) -> None:
        """Follow a body until nothing new is learned; what holds afterwards holds after any number of rounds."""
        for _ in range(MOST_ROUNDS):
            self.walker.count(1 + len(env) // 8)
            after = dict(env)
            self.block(body, after)
            merged = _merged(env, after)
            if merged == env:
                return
            env.update(merged)
        env.update((name, Value()) for name in _assigned(body))

    def assign(self, target: ast.expr, value: Value, env: dict[str, Value]) -> None:
        if isinstance(target, ast.Name):
            env[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            for at, item in enumerate(target.elts):
                self.assign(item, value.item(at), env)
        elif isinstance(target, ast.Attribute):
            owner = self.value(target.value, env)
            if owner.module is not None:
                self.walker.writes.append((_path(owner, target.attr), place(self.function.file, target)))

    def value(self, node: ast.expr, env: dict[str, Value]) -> Value:
        """Return what is known of an expression."""
        self.walker.count()
        match node:
            case ast.Constant(value=value):
                return constant(value)
            case ast.Name(id=name):
                return env.get(name, Value())
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.value(operand, env)
                number = isinstance(inner.const, int | float) and not isinstance(inner.const, bool)
                return constant(-inner.const) if number else Value()
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return listed([self.value(item, env) for item in items])
            case ast.Subscript(value=value, slice=at):
                return self.value(value, env).item(self.value(at, env).number)
            case ast.Attribute(value=value, attr=attr):
                return self.attribute(node, value, attr, env)
            case ast.Call():
                return self.use(node, env)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                taken = self.value(test, env)
                if taken.known:
                    return self.value(body if taken.const else orelse, env)
                return joined((self.value(body, env), self.value(orelse, env)))
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.value(child, env)
                return Value()

    def attribute(self, node: ast.expr, value: ast.expr, attr: str, env: dict[str, Value]) -> Value:
        name = dotted(node)
        if name.startswith("CONSTANTS.c") and attr[1:].isdecimal() and int(attr[1:]) < len(self.walker.constants):
            return _stored(self.walker.constants[int(attr[1:])], f"stored constant {attr}")
        if name in self.walker.script.functions:
            return Value(kind=name)
        if name and name.partition(".")[0] not in env:
            return Value()
        return self.member(self.value(value, env), attr)

    def member(self, owner: Value, attr: str) -> Value:
        """Return an attribute of a module: from data.pkl, or where the code itself holds it."""
        if owner.module is None:
            return Value()
        state = owner.state.state if isinstance(owner.state, Made) else None
        path = _path(owner, attr)
        if isinstance(state, dict) and attr in state:
            found = state[attr]
            if isinstance(found, StoredTensor):
                return _stored(found, f"stored '{path}'")
            return _stored(found, path)
        kind = self.walker.script.classes.get(owner.kind)
        return self.value(kind.values[attr], {}) if kind is not None and attr in kind.values else Value()

    def use(self, node: ast.Call, env: dict[str, Value]) -> Value:
        """Return the result of a call: of a function of the file by following it, of an operator from what is known of it."""
        name = dotted(node.func)
        if name in ("annotate", "unchecked_cast") and len(node.args) == 2:
            cast = self.value(node.args[1], env)
            if cast.const is None:  # annotate(Optional[int], None)
                return cast
            return replace(cast, tensor=cast.tensor or dotted(node.args[0]) == "Tensor", maybe_none=False)
        if name == "getattr" and len(node.args) == 2 and isinstance(node.args[1], ast.Constant):
            return self.member(self.value(node.args[0], env), str(node.args[1].value))
        args = tuple(self.value(item, env) for item in node.args)
        named = {item.arg: self.value(item.value, env) for item in node.keywords if item.arg}
        if name in _CHANGING_LISTS and args:
            self.change_list(name, args, env)
            return args[0]
        function, owner = self.callee(node.func, name, env)
        if function is not None:
            return self.walker.call(function, (owner, *args) if owner is not None else args, named, self.depth + 1)
        if name in ("int", "float", "bool"):
            return _converted(name, args)
        if name == "range":
            return args[-1] if args else Value()
        if name == "torch.__range_length" and len(args) == 3:
            return Value()
        result = Value()
        if name.startswith(("torch.", "ops.")):
            result = result_of(name.rpartition(".")[2], args, named)
            if writes(name.rpartition(".")[2]) and args:
                env.update({key: result for key, value in env.items() if value is args[0]})
        if name:
            self.walker.operations.append(Operation(name, args, named, result, place(self.function.file, node)))
        return result

    def change_list(self, name: str, args: Sequence[Value], env: dict[str, Value]) -> None:
        """Put what a list is afterwards in the place of what it was, under every name that it has here."""
        old, items, new = args[0], args[0].items, Value()
        at = args[1].number if len(args) > 1 else None
        if name == "torch._set_item" and items is not None and at is not None and -len(items) <= at < len(items):
            found = list(items)
            found[at] = args[-1]
            new = listed(found)
        elif name == "torch.append" and items is not None and len(args) == 2:
            new = listed((*items, args[1]))
        elif name == "torch.append" and old.each is not None and len(args) == 2:
            new = Value(each=joined((old.each, args[1])))
        env.update({key: new for key, value in env.items() if value is old})

    def callee(self, node: ast.expr, name: str, env: dict[str, Value]) -> tuple[Function | None, Value | None]:
        """Return the function of the file that a call means, and the module that it is a method of."""
        script = self.walker.script
        if name in script.functions and name.partition(".")[0] not in env:
            return script.functions[name], None
        if isinstance(node, ast.Attribute) and (not name or name.partition(".")[0] in env):
            owner = self.value(node.value, env)
            kind: Class | None = script.classes.get(owner.kind) if owner.module is not None else None
            return (kind.methods.get(node.attr), owner) if kind is not None else (None, None)
        if isinstance(node, ast.Name) and node.id in env:
            return script.functions.get(env[node.id].kind), None
        return None, None


def _path(owner: Value, attr: str) -> str:
    return f"{owner.module}.{attr}" if owner.module else attr


def _converted(name: str, args: tuple[Value, ...]) -> Value:
    """Return int(x), float(x), bool(x) of a number or tensor."""
    value = args[0] if args else Value()
    if value.dim and name == "int":
        return value
    if isinstance(value.const, bool | int | float):
        try:
            return constant({"int": int, "float": float, "bool": bool}[name](value.const))
        except (ValueError, OverflowError):
            return Value()
    return Value()


def _merged(a: Mapping[str, Value], b: Mapping[str, Value]) -> dict[str, Value]:
    """Return what is known of every variable after either of two ways; a variable of one way only keeps its value."""
    return {name: joined((a[name], b[name])) if name in a and name in b else (a.get(name) or b[name]) for name in {**a, **b}}


def _assigned(body: Sequence[ast.stmt]) -> set[str]:
    return {node.id for item in body for node in ast.walk(item) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
