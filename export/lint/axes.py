"""How long each axis of each value is, in hits and edges: what shape inference loses, followed through the graph."""

from __future__ import annotations

from collections.abc import Sequence

from trkx.export.lint.axis_steps import STEPS, vector_of
from trkx.export.lint.doors import Doors, dims_of
from trkx.export.lint.sizes import Size, Sizes, tame
from trkx.export.lint.walking import STANDARD
from trkx.export.onnx_graph import Graph


class Axes:
    """Sizes of the values of a graph and of its bodies.

    Attributes:
        shapes: sizes of each value whose rank is known; an axis that nothing is known of is None.
        derived: the same, of nodes only, without what the file declares of the value itself.
        vectors: elements of the integer values that hold sizes (at most 64 of them).
    """

    def __init__(self, graph: Graph, doors: Doors) -> None:
        self.shapes: dict[str, Sizes] = {}
        self.derived: dict[str, Sizes] = {}
        self.vectors: dict[str, Sizes] = {}
        self._symbols: dict[str, Size] = {}
        self._enter(doors)
        for part in graph.all():
            self._follow(part)

    def of(self, graph: Graph, name: str) -> Sizes | None:
        """Return the sizes of a value, None if not even its rank is known."""
        if name not in self.shapes:
            declared = self._declared(graph, name)
            if declared is None:
                return None
            self.shapes[name] = declared
        return self.shapes[name]

    def _enter(self, doors: Doors) -> None:
        hits, edges = Size(hits=1), Size(edges=1)
        for value, length in ((doors.x, hits), (doors.edge_index, edges), (doors.edge_attr, edges)):
            dims = dims_of(value) if value is not None else None
            if value is None or not dims:
                continue
            moving = len(dims) - 1 if value is doors.edge_index and dims[-1] != 2 else 0
            self.shapes[value.name] = tuple(
                Size(fixed=dim) if isinstance(dim, int) else length if axis == moving else None for axis, dim in enumerate(dims)
            )
            symbol = dims[moving]
            if isinstance(symbol, str):  # one name for both axes says nothing
                self._symbols[symbol] = length if self._symbols.get(symbol, length) == length else Size(fixed=-1)
        self._symbols = {name: size for name, size in self._symbols.items() if size.fixed == 0}

    def _follow(self, graph: Graph) -> None:
        for node in graph.nodes:
            step = STEPS.get(node.op_type) if node.domain in STANDARD else None
            found: Sequence[Sizes | None] = ()
            if step is not None:
                found = step(self, graph, node)
                vector = vector_of(self, graph, node)
                if vector is not None and node.output:
                    self.vectors[node.output[0]] = vector
            for place, name in enumerate(node.output):
                own = found[place] if place < len(found) else None
                declared = self._declared(graph, name)
                if own is not None:
                    self.derived[name] = own = tuple(tame(size) for size in own)
                merged = _merged(own, declared)
                if merged is not None:
                    self.shapes[name] = merged

    def _declared(self, graph: Graph, name: str) -> Sizes | None:
        dims = graph.shape(name) if name else None
        if dims is None or len(dims) > 64:
            return None
        return tuple(Size(fixed=dim) if isinstance(dim, int) else self._symbols.get(dim or "") for dim in dims)


def _merged(own: Sizes | None, declared: Sizes | None) -> Sizes | None:
    if own is None or declared is None or len(own) != len(declared):
        return own if own is not None else declared
    return tuple(mine if mine is not None else theirs for mine, theirs in zip(own, declared, strict=True))
