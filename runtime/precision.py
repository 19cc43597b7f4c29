"""In which precision each network runs: names, and how a user says it."""

from __future__ import annotations

from collections.abc import Mapping

from trkx.errors import SpecError, unknown_name
from trkx.spec import STAGES

EXACT = "fp32"
PRECISIONS = (EXACT, "bf16")
"""bf16: hidden layers read bfloat16 and sum in float32; features, norms, states, sums over edges and logits stay float32."""


def precisions(text: str) -> dict[str, str]:
    """Return stage to precision, for all stages: of "bf16", or of "filter=bf16,gnn=bf16", where what is not named is "fp32".

    Raises:
        SpecError: an unknown precision or stage, or a stage that is named twice.
    """
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


def in_words(stages: Mapping[str, str]) -> str:
    """Return precisions as `precisions` reads them, as short as can be."""
    names = {stages[stage] for stage in STAGES}
    return names.pop() if len(names) == 1 else ",".join(f"{stage}={stages[stage]}" for stage in STAGES)


def _known(name: str) -> str:
    if name not in PRECISIONS:
        raise SpecError(unknown_name("precision", name, PRECISIONS))
    return name
