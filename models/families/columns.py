"""What hyper-parameters say of the columns of x, and checks that they and the keys belong to the network that was read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.hyper import listed, needed, optional, plain_feature
from trkx.models.families.layouts import ACTIVATIONS
from trkx.models.families.reading import Mismatch

USUAL = {
    3: "they usually are r, phi, z divided by 1000, pi, 1000",
    12: "they usually are 9 cell features, then r, phi, z divided by 1000, pi, 1000",
}
"""Number of columns to what Tracking-ML has in them unless its data were prepared otherwise."""


def nothing_else(checkpoint: Checkpoint, used: Iterable[str], unused: tuple[str, ...] = ()) -> None:
    """Raise Mismatch if the file has tensors that are neither used nor under a prefix that is known to be unused."""
    known = set(used)
    extra = [key for key in checkpoint.shapes if key not in known and not key.startswith(unused)]
    if extra:
        raise Mismatch(f"it also has {', '.join(extra[:4])}{' …' if len(extra) > 4 else ''}, which this class does not")


def same(checkpoint: Checkpoint, sizes: Mapping[str, int]) -> None:
    """Raise Mismatch if a hyper-parameter names another size than the tensors have: it is that of another training."""
    for name, found in sizes.items():
        said = optional(checkpoint, name, int)
        if said is not None and said != found:
            raise Mismatch(f"hyper-parameter '{name}' is {said}, but the tensors have {found}; they are of two trainings")


def trackml_columns(checkpoint: Checkpoint, inputs: int) -> tuple[str, ...]:
    """Return what is taken for granted of the columns of a Tracking-ML network, whose files do not name them.

    Raises:
        Mismatch: hyper-parameters speak of another number of columns.
    """
    spatial, cell = (optional(checkpoint, name, int) for name in ("spatial_channels", "cell_channels"))
    said = {value for value in (optional(checkpoint, "in_channels", int), spatial) if value is not None}
    said |= {spatial + cell} if spatial is not None and cell is not None else set()
    if said and inputs not in said:
        raise Mismatch(f"it reads {inputs} columns of a hit, but in_channels, spatial_channels and cell_channels of the "
                       f"hyper-parameters say {' or '.join(map(str, sorted(said)))}")
    usual = USUAL.get(inputs, "cell features come before r, phi, z")
    return (f"The file does not name its {inputs} columns; in this code base {usual}.",)


def acorn_columns(checkpoint: Checkpoint, inputs: int) -> tuple[tuple[str, ...] | None, tuple[float, ...] | None]:
    """Return names and scales of the columns, from `node_features` and `node_scales`; None where they are absent.

    Prefixes of the code base go ("hit_r" is r), unless two names would become the same.

    Raises:
        Mismatch: there are not as many as the network reads, or they are not names and numbers.
    """
    names, scales = listed(checkpoint, "node_features"), listed(checkpoint, "node_scales")
    for key, values in (("node_features", names), ("node_scales", scales)):
        if values is not None and len(values) != inputs:
            raise Mismatch(f"it reads {inputs} columns of a hit, but hyper-parameter '{key}' has {len(values)}")
    if names is not None and not all(isinstance(name, str) for name in names):
        raise Mismatch(f"hyper-parameter 'node_features' is {names!r}, expected names")
    if scales is not None and not all(_is_scale(scale) for scale in scales):
        raise Mismatch(f"hyper-parameter 'node_scales' is {scales!r}, expected finite numbers other than 0")
    return unprefixed(names) if names is not None else None, tuple(map(float, scales)) if scales is not None else None


def unprefixed(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of features without prefixes; those that would become the same keep their full names."""
    full = tuple(names)
    plain = [plain_feature(name) for name in full]
    count = Counter(plain)
    return tuple(short if count[short] == 1 else name for name, short in zip(full, plain, strict=True))


def activation_name(checkpoint: Checkpoint, name: str) -> str:
    """Return the class name of the activation: the hyper-parameter, or what a TorchScript file shows of its modules."""
    said = optional(checkpoint, name, str)
    if said is None and checkpoint.modules:
        said = optional(checkpoint, "hidden_activation", str)
    return needed(checkpoint, name, str) if said is None else said


def only_tanh(checkpoint: Checkpoint) -> None:
    """Raise Mismatch if a TorchScript file shows another activation than Tanh, the only one of the class."""
    other = sorted({kind for kind in checkpoint.modules.values() if kind in ACTIVATIONS} - {"Tanh", "Identity"})
    if other:
        raise Mismatch(f"the class has no other activation than Tanh, but the file has {', '.join(other)}")


def _is_scale(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value != 0
