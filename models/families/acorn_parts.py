"""The Sequentials of one of acorn's graph networks, read one after the other until no key is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.acorn_hyper import text
from trkx.models.families.hyper import flag, needed, optional
from trkx.models.families.layouts import ACORN, Part, Style, Wanted, read_part, sizes_of
from trkx.models.families.reading import Absent, Mismatch
from trkx.models.families.sequentials import check_modules, modules_of


class Parts:
    """Reads the Sequentials of a checkpoint in the style of one code base.

    Attributes:
        output_norms: whether the class passes norms before output activations on.
        weights: key of our module to key of the file, of all that was read.
    """

    def __init__(self, checkpoint: Checkpoint, style: Style, output_norms: bool = False) -> None:
        self.checkpoint = checkpoint
        self.output_norms = output_norms
        self.style = style
        self.weights: dict[str, str] = {}
        self._prefixes: list[str] = []
        batch_norm = flag(checkpoint, "batchnorm")
        if batch_norm is None and "node_features" in checkpoint.hyper_parameters:
            batch_norm = False
        self._wanted = Wanted(
            needed(checkpoint, "hidden_activation", str), layer_norm=flag(checkpoint, "layernorm"), batch_norm=batch_norm,
        )

    @property
    def with_batch_norm(self) -> bool:
        """Whether hyper-parameters want batch norms."""
        return bool(self._wanted.batch_norm)

    def read(self, prefix: str, own: str, output: str) -> Part:
        """Return the Sequential under a prefix, and keep its weights as those of our module `own`.

        output: class in torch.nn of what follows the last Linear, "" for nothing. Keys, which can't be mistaken, say whether
        a batch norm with weights stands between, and whether batch norms store statistics.
        """
        held = [key for key in self.checkpoint.shapes if key.startswith(f"{prefix}.")]
        stored = any(key.endswith(".running_mean") for key in held)
        last = sizes_of(self.checkpoint, prefix)[1][-1][0]
        at_end = self.style is ACORN and self.output_norms and f"{prefix}.{last + 1}.weight" in held
        wanted = replace(self._wanted, output=output, output_batch_norm=at_end, track=stored)
        part = read_part(self.checkpoint, prefix, self.style, wanted)
        check_modules(self.checkpoint, prefix, part.chain)
        self.weights |= part.under(own)
        self._prefixes.append(f"{prefix}.")
        return part

    def read_each(self, prefixes: Sequence[str], own: str, output: str) -> Part:
        """Return what Sequentials of the same layers are, one or one for each iteration; Mismatch if they differ."""
        if not prefixes:
            raise Mismatch(f"it has none of the {own.replace('_', ' ')}")
        parts = [self.read(prefix, f"{own}.{place}", output) for place, prefix in enumerate(prefixes)]
        for prefix, part in zip(prefixes, parts, strict=True):
            if (part.chain, part.inputs) != (parts[0].chain, parts[0].inputs):
                raise Mismatch(f"'{prefix}' has other layers than '{prefixes[0]}'")
        return parts[0]

    def read_logits(self, prefix: str, own: str, sigmoid: bool) -> Part:
        """Return the Sequential that gives the logits, without the sigmoid that follows in the file."""
        part = self.read(prefix, own, "Sigmoid" if sigmoid else "")
        return replace(part, chain=replace(part.chain, output_activation="none"))

    def done(self, unused: Iterable[str] = ()) -> None:
        """Raise Mismatch if keys are left, beside those under names that the class holds but does not use."""
        known = (*self._prefixes, *(f"{name}." for name in unused))
        left = [key for key in self.checkpoint.shapes if not key.startswith(known)]
        if left:
            raise Mismatch(f"it also has {', '.join(left[:4])}{' …' if len(left) > 4 else ''}, which it has no place for")


def check_keys(checkpoint: Checkpoint, *names: str) -> None:
    """Raise Mismatch if a file holds nothing under one of these names; "a|b" is either."""
    for name in names:
        if not any(key.startswith(tuple(f"{one}." for one in name.split("|"))) for key in checkpoint.shapes):
            raise Absent(f"it has no {name.replace('|', ' or ')}")


def counted(checkpoint: Checkpoint, name: str) -> int:
    """Return how many Sequentials a ModuleList of a file holds, 0 if there is none of that name."""
    found = set()
    for key in checkpoint.shapes:
        levels = key.removeprefix(f"{name}.").split(".")
        if key.startswith(f"{name}.") and len(levels) > 2 and levels[0].isdigit():
            found.add(int(levels[0]))
    if found != set(range(len(found))):
        raise Mismatch(f"'{name}' has {', '.join(map(str, sorted(found)))}, expected 0 to {len(found) - 1}")
    return len(found)


def iterations_of(checkpoint: Checkpoint, *counts: int) -> int:
    """Return how many iterations there are: as many as networks, or what hyper-parameters say where all share one.

    counts: networks of edges and of nodes, 0 where one is shared.
    """
    separate = {count for count in counts if count}
    said = optional(checkpoint, "n_graph_iters", int)
    if said is None and not separate:
        return needed(checkpoint, "n_graph_iters", int)
    if len(separate | ({said} if said is not None else set())) > 1:
        raise Mismatch(f"networks for {', '.join(map(str, sorted(separate)))} iterations, but n_graph_iters is {said}")
    found = separate.pop() if separate else said or 0
    if found < 1:
        raise Mismatch(f"hyper-parameter 'n_graph_iters' is {found}, expected at least 1")
    return found


def output_activation(checkpoint: Checkpoint, prefix: str, name: str = "output_activation") -> str:
    """Return the class in torch.nn after the last Linear: as a hyper-parameter says, or the modules that the file names."""
    if name not in checkpoint.hyper_parameters and (modules := modules_of(checkpoint, prefix)):
        return "" if modules[-1] == "Linear" else modules[-1]
    return text(checkpoint, name)


def ends_in_sigmoid(checkpoint: Checkpoint, prefix: str) -> bool:
    """Return whether the file names a sigmoid as the last module of a Sequential."""
    return modules_of(checkpoint, prefix)[-1:] == ["Sigmoid"]
