"""The `make_mlp` functions of the field: which layers a Sequential has, and under which keys. See docs/families/layouts.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import cast

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.reading import Absent, Mismatch
from trkx.spec import Activation, BatchNorm, ChainSpec, Norm

ACTIVATIONS: Mapping[str, Activation] = {
    "ReLU": "relu", "SiLU": "silu", "Tanh": "tanh", "GELU": "gelu", "LeakyReLU": "leaky_relu", "ELU": "elu", "Mish": "mish",
    "Softplus": "softplus", "Sigmoid": "sigmoid", "Identity": "none",
}
"""Class names in torch.nn, as hyper-parameters have them, to ours; defaults of all arguments are those of torch."""


@dataclass(frozen=True)
class Style:
    """How one version of `make_mlp` builds its layers.

    Attributes:
        name: for messages.
        layer_norm: kind of LayerNorm where hyper-parameters want one.
        batch_norm: kind of BatchNorm where hyper-parameters want one; None if it can't have any.
        eps: of the batch norm.
        output_follows: norms of hidden layers also come before an output activation.
        tracks: its batch norm stores mean and variance if the hyper-parameters say `track_running_stats`.
    """

    name: str
    layer_norm: Norm
    batch_norm: BatchNorm | None
    eps: float = 1e-5
    output_follows: bool = True
    tracks: bool = False


TRACKML = Style("Tracking-ML", "affine", None)
"""TrackML_Example, exatrkx-iml2020, exatrkx-acat2021, ctd2022, and the embeddings of Common_Tracking_Example."""
COMMON = Style("Common_Tracking_Example", "plain", "event")
"""GNN and filter of Common_Tracking_Example, later version."""
COMMON_EARLY = Style("Common_Tracking_Example, early", "affine", "running_affine")
ACORN = Style("acorn", "plain", "event_affine", 6e-5, output_follows=False, tracks=True)
"""acorn's Filter and GNNs."""
ACORN_GRAPH = Style("acorn metric learning", "plain", "event")
GNN4ITK = Style("gnn4itk_cf", "plain", "event")
"""The package that acorn grew from, 2022 and 2023."""


@dataclass(frozen=True)
class Wanted:
    """What hyper-parameters say of a Sequential; None where they are silent, so that keys decide.

    Activations are class names of torch.nn; `output` "" means none. dropout: slots of input and hidden dropout.
    """

    activation: str
    output: str = ""
    layer_norm: bool | None = None
    batch_norm: bool | None = None
    output_batch_norm: bool = False
    track: bool = False
    input_dropout: bool = False
    hidden_dropout: bool = False


@dataclass(frozen=True)
class Part:
    """One Sequential of a file. chain: its layers; inputs: its columns; weights: key of our chain to key of the file."""

    chain: ChainSpec
    inputs: int
    weights: Mapping[str, str]

    def under(self, prefix: str) -> dict[str, str]:
        """Return the weights with our keys under a module of ours."""
        return {f"{prefix}.{key}": value for key, value in self.weights.items()}


def activation_of(name: str, where: str) -> Activation:
    """Return our name of an activation class of torch.nn; Mismatch if it is none that we have."""
    if name not in ACTIVATIONS:
        raise Mismatch(f"{where}: activation '{name}' is none of {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]


def sizes_of(checkpoint: Checkpoint, prefix: str) -> tuple[int, list[tuple[int, int]]]:
    """Return the columns that a Sequential takes, and index and width of each Linear; Mismatch if it is no chain."""
    found = []
    for key, shape in checkpoint.shapes.items():
        rest = key.removeprefix(f"{prefix}.")
        if rest != key and rest.endswith(".weight") and rest[:-7].isdigit() and len(shape) == 2:
            found.append((int(rest[:-7]), shape))
    if not found:
        raise Absent(f"no Linear under '{prefix}'")
    found.sort()
    for (_, (out, _)), (index, (_, taken)) in pairwise(found):
        if out != taken:
            raise Mismatch(f"{prefix}.{index} takes {taken} columns after a layer of {out}")
    return found[0][1][1], [(index, shape[0]) for index, shape in found]


def read_part(checkpoint: Checkpoint, prefix: str, style: Style, wanted: Wanted) -> Part:
    """Return the Sequential under a prefix as this style builds it; keys must be exactly those that it would have.

    Where `wanted` is silent on norms, the keys decide: the index of each Linear tells how many layers lie between.

    Raises:
        Mismatch: the keys or shapes are others.
    """
    inputs, linears = sizes_of(checkpoint, prefix)
    held = {key: shape for key, shape in checkpoint.shapes.items() if key.startswith(f"{prefix}.")}
    reasons: list[str] = []
    found: list[Part] = []
    for choice in _choices(style, wanted):
        expected = _expected(prefix, style, choice, [width for _, width in linears], inputs)
        if {key: shape for key, shape, _ in expected} == held:
            weights = {own: key for key, _, own in expected if own}
            part = Part(_chain(style, choice, [width for _, width in linears], prefix), inputs, weights)
            found += [part] if part.chain not in [item.chain for item in found] else []
        else:
            reasons.append(_difference(held, {key: shape for key, shape, _ in expected}))
    if not found:
        raise Mismatch(f"'{prefix}' is no make_mlp of {style.name}: {reasons[0] if reasons else 'it has no batch norm'}")
    if len(found) > 1:
        raise Mismatch(f"'{prefix}' may have layer norms or not: hyper-parameters layernorm and batchnorm must say it")
    return found[0]


def _choices(style: Style, wanted: Wanted) -> Iterator[Wanted]:
    layer = [wanted.layer_norm] if wanted.layer_norm is not None else [False, True]
    batch = [wanted.batch_norm] if wanted.batch_norm is not None else [False, True]
    for with_layer, with_batch in product(layer, batch):
        if not (with_batch and style.batch_norm is None):
            yield replace(wanted, layer_norm=with_layer, batch_norm=with_batch)


def _batch_norm(style: Style, wanted: Wanted) -> BatchNorm:
    kind = style.batch_norm or "none"
    return cast(BatchNorm, kind.replace("event", "running")) if style.tracks and wanted.track else kind


def _chain(style: Style, wanted: Wanted, widths: list[int], where: str) -> ChainSpec:
    output = activation_of(wanted.output, where) if wanted.output else "none"
    hidden_norm: Norm = style.layer_norm if wanted.layer_norm else "none"
    hidden_batch: BatchNorm = _batch_norm(style, wanted) if wanted.batch_norm else "none"
    at_end = bool(wanted.output) and style.output_follows
    output_batch: BatchNorm = hidden_batch if at_end else "none"
    if not at_end and wanted.output and wanted.output_batch_norm:
        output_batch = _batch_norm(style, wanted)
    has_batch = (hidden_batch, output_batch) != ("none", "none")
    return ChainSpec(
        tuple(widths), activation_of(wanted.activation, where), hidden_norm, hidden_batch,
        style.eps if has_batch else ChainSpec.batch_norm_eps,  # so that chains that compute the same are equal
        output_activation=output,
        output_norm=hidden_norm if at_end else "none",
        output_batch_norm=output_batch,
    )


def _expected(
    prefix: str, style: Style, wanted: Wanted, widths: list[int], inputs: int
) -> list[tuple[str, tuple[int, ...], str]]:
    """Return (key of the file, shape, key of ours or "" for one that is not needed) of every tensor."""
    chain = _chain(style, wanted, widths, prefix)
    found: list[tuple[str, tuple[int, ...], str]] = []
    index = 1 if wanted.input_dropout and len(widths) > 1 else 0
    taken = inputs
    for place, width in enumerate(widths):
        last = place == len(widths) - 1
        found += [(f"{prefix}.{index}.weight", (width, taken), f"linears.{place}.weight"),
                  (f"{prefix}.{index}.bias", (width,), f"linears.{place}.bias")]
        index, taken = index + 1, width
        norm, batch = (chain.output_norm, chain.output_batch_norm) if last else (chain.norm, chain.batch_norm)
        if norm != "none":
            if norm == "affine":
                found += [(f"{prefix}.{index}.{name}", (width,), f"norms.{place}.{name}") for name in ("weight", "bias")]
            index += 1
        if batch != "none":
            if batch.endswith("affine"):
                found += [(f"{prefix}.{index}.{name}", (width,), f"batch_norms.{place}.{name}") for name in ("weight", "bias")]
            if batch.startswith("running"):
                names = ("running_mean", "running_var")
                found += [(f"{prefix}.{index}.{name}", (width,), f"batch_norms.{place}.{name}") for name in names]
                found.append((f"{prefix}.{index}.num_batches_tracked", (), ""))
            index += 1
        index += 1 + (1 if wanted.hidden_dropout else 0)
    return found


def _difference(held: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> str:
    missing, extra = sorted(expected.keys() - held.keys()), sorted(held.keys() - expected.keys())
    shapes = [key for key in sorted(held.keys() & expected.keys()) if held[key] != expected[key]]
    words = [f"{title} {', '.join(names[:4])}{' …' if len(names) > 4 else ''}"
             for title, names in (("lacks", missing), ("also has", extra), ("has other shapes of", shapes)) if names]
    return "it " + " and ".join(words)
