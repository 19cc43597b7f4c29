"""A recognised checkpoint to a torch module with its weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from trkx.errors import CheckpointError
from trkx.models.checkpoint import fit
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.reading import Reading
from trkx.models.networks import BUILDERS
from trkx.spec import FeatureSpec


def weights_of(reading: Reading, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the weights of a recognised checkpoint under our keys, float32.

    Raises:
        CheckpointError: a tensor is not whole, or no floating-point numbers.
    """
    held = checkpoint.tensors(dict.fromkeys(reading.weights.values()))
    bad = [name for name, value in held.items() if not value.is_floating_point()]
    if bad:
        found = f"found {held[bad[0]].dtype} in {', '.join(bad[:4])}"
        raise CheckpointError(f"{checkpoint.path}: expected floating-point weights, {found}; such a network can't be exported.")
    return {own: held[key].float().contiguous() for own, key in reading.weights.items()}


def network_of(reading: Reading, checkpoint: Checkpoint, features: Sequence[FeatureSpec]) -> nn.Module:
    """Return the module of a recognised checkpoint, float32, in eval mode, with its weights.

    Args:
        reading: from `trkx.models.families.table.recognise`.
        checkpoint: the file that was recognised.
        features: of the pipeline, the columns of x.

    Raises:
        CheckpointError: the weights are not whole, hold NaN, or do not fit.
    """
    module = BUILDERS[reading.spec.family](reading.spec, features)
    fit(module, weights_of(reading, checkpoint), f"{checkpoint.path} (family {reading.family})")
    return module.float().eval()
