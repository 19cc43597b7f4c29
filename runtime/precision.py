"""In which precision each network runs: names, and how a user says it."""

from __future__ import annotations

from trkx.errors import SpecError, unknown_name
from trkx.spec import STAGES

EXACT = "fp32"
PRECISIONS = (EXACT, "tf32", "bf16", "fp16")
"""What hidden layers read of states and weights; they sum in float32. Features, norms, states, sums over edges and logits stay
float32."""
MIXED = "mixed"
"""The embedding in fp32, for neighbours hang on it; filter and GNN in bf16."""


def precisions(text: str) -> dict[str, str]:
    """Return stage to precision, for all stages.

    Of "bf16"; of "mixed"; or of "filter=bf16,gnn=bf16", where what is not named is "fp32".

    Raises:
        SpecError: an unknown precision or stage, or a stage that is named twice.
    """
    if text.strip() == MIXED:
        return {stage: EXACT if stage == "embedding" else "bf16" for stage in STAGES}
    if "=" not in text:
        return dict.fromkeys(STAGES, _known(text.strip()))
    found: dict[str, str] = {}
    for word in text.split(","):
        stage, _, name = (part.strip() for part in word.partition("="))
        if stage not in STAGES:
            raise SpecError(unknown_name("stage", stage, STAGES))
        if stage in found:
            raise SpecError(f"precision '{text}': {stage} stands there twice.")
        found[stage] = _known(name)
    return {stage: found.get(stage, EXACT) for stage in STAGES}


def _known(name: str) -> str:
    if name not in PRECISIONS:
        raise SpecError(unknown_name("precision", name, (*PRECISIONS, MIXED)))
    return name
