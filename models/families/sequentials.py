"""The modules of a Sequential as a file names them (TorchScript does), against the layers that it was read as."""

from __future__ import annotations

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.layouts import ACTIVATIONS
from trkx.models.families.reading import Mismatch
from trkx.spec import ChainSpec

WITHOUT_EFFECT = ("Dropout", "Identity")


def check_modules(checkpoint: Checkpoint, prefix: str, chain: ChainSpec) -> None:
    """Raise Mismatch if the file names the classes of a Sequential's modules, and they are others than those of a chain."""
    found = [name for name in modules_of(checkpoint, prefix) if name not in WITHOUT_EFFECT]
    words = {own: name for name, own in ACTIVATIONS.items()}
    expected: list[str] = []
    for place in range(len(chain.widths)):
        last = place == len(chain.widths) - 1
        norm, batch_norm, activation = ((chain.output_norm, chain.output_batch_norm, chain.output_activation) if last
                                        else (chain.norm, chain.batch_norm, chain.activation))
        expected += ["Linear", *(["LayerNorm"] if norm != "none" else []), *(["BatchNorm1d"] if batch_norm != "none" else []),
                     *([words[activation]] if activation != "none" else [])]
    if found and found != expected:
        raise Mismatch(f"'{prefix}' is {', '.join(found)} in the file, expected {', '.join(expected)}")


def modules_of(checkpoint: Checkpoint, prefix: str) -> list[str]:
    """Return the classes of the modules of a Sequential, in order; none if the file does not say them."""
    found = []
    for path, name in checkpoint.modules.items():
        rest = path.removeprefix(f"{prefix}.")
        if rest != path and rest.isdigit():
            found.append((int(rest), name))
    return [name for _, name in sorted(found)]
