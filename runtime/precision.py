"""In which precision each network runs: names, and how a user says it. Files of a bundle are named in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trkx.errors import SpecError, unknown_name
from trkx.spec import STAGES

EXACT = "fp32"
PRECISIONS = (EXACT, "tf32", "bf16", "fp16")
"""What hidden layers read of states and weights; they sum in float32. Features, norms, states, sums over edges and logits stay
float32."""
MIXED = "mixed"
"""The embedding in fp32, for neighbours hang on it; filter and GNN in bf16."""
FILE_TYPES: Mapping[str, str] = {EXACT: "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Word to `FileEntry.precision` of the file that computes so. "tf32" has none: it is how a device multiplies float32."""


def precisions(text: str, present: Sequence[str] = STAGES) -> dict[str, str]:
    """Return stage to precision, for all stages.

    Of "bf16"; of "mixed"; or of "filter=bf16,gnn=bf16", where what is not named is "fp32" and + may stand for the comma.

    Args:
        text: what a user says.
        present: the stages that a bundle has; another may not be named.

    Raises:
        SpecError: an unknown precision or stage, a stage that is named twice, or one that is not there.
    """
    if text.strip() == MIXED:
        return {stage: EXACT if stage == "embedding" else "bf16" for stage in STAGES}
    if "=" not in text:
        return dict.fromkeys(STAGES, _known(text.strip()))
    found: dict[str, str] = {}
    for word in text.replace("+", ",").split(","):
        stage, _, name = (part.strip() for part in word.partition("="))
        if stage not in STAGES:
            raise SpecError(unknown_name("stage", stage, STAGES))
        if stage not in present:
            raise SpecError(f"precision '{text}': this bundle has no {stage}; its stages are {', '.join(present)}: name those.")
        if stage in found:
            raise SpecError(f"precision '{text}': {stage} stands there twice.")
        if name == MIXED:
            raise SpecError(f"precision '{text}': '{MIXED}' is said of all networks at once (filter=bf16,gnn=bf16), not of "
                            f"{stage} alone; say one of {', '.join(PRECISIONS)}.")
        found[stage] = _known(name)
    return {stage: found.get(stage, EXACT) for stage in STAGES}


def spelled(text: str, present: Sequence[str] = STAGES) -> str:
    """Return the same, stage by stage: "mixed" is "filter=bf16,gnn=bf16"; "fp32" where all are. Errors as of `precisions`."""
    found = precisions(text, present)
    return ",".join(f"{stage}={found[stage]}" for stage in STAGES if stage in present and found[stage] != EXACT) or EXACT


def _known(name: str) -> str:
    if name not in PRECISIONS:
        raise SpecError(unknown_name("precision", name, (*PRECISIONS, MIXED)))
    return name
