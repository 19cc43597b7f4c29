"""The rows of acorn's graph networks, and of gnn4itk_cf's, the package that it grew from."""

from __future__ import annotations

from trkx.models.families.acorn_interaction import Read, interaction, interaction_pyg
from trkx.models.families.acorn_interaction2 import interaction2, interaction2_pyg
from trkx.models.families.layouts import ACORN, GNN4ITK
from trkx.models.families.reading import Family

LATE = "no norm before an output activation, unless output_batch_norm says so"
EARLY = "layernorm and batchnorm also come before an output activation"
FIRST = "nodes move first and read sums over edges that end and that start there, no residual"
SECOND = "edges move first and are all that the decoder reads"
CONVS = "nodes move first, then edges, which are all that the decoder reads"


def _row(name: str, title: str, forward: str, read: Read) -> Family:
    return Family(name, "gnn", title, forward, read, "acorn.md")


ACORN_FAMILIES: tuple[Family, ...] = (
    _row("acorn-interaction", "acorn: InteractionGNN", f"{FIRST}; {LATE}", interaction("acorn-interaction", ACORN)),
    _row("gnn4itk-interaction", "gnn4itk_cf: InteractionGNN",
         f"{FIRST}; {EARLY}; joined words such as sum_max put max before mean before sum",
         interaction("gnn4itk-interaction", GNN4ITK)),
    _row("acorn-interaction-pyg", "acorn: InteractionGNNWithPyG", f"{FIRST}; {LATE}; iterations end as encoders do",
         interaction_pyg("acorn-interaction-pyg", ACORN)),
    _row("acorn-interaction-pyg-silu", "acorn: InteractionGNNWithPyG, trained without output_activation in its YAML file",
         f"{FIRST}; {LATE}; iterations end in SiLU, encoders in nothing",
         interaction_pyg("acorn-interaction-pyg-silu", ACORN, silu=True)),
    _row("gnn4itk-interaction-pyg", "gnn4itk_cf: InteractionGNNWithPyG", f"{FIRST}; {EARLY}; iterations end as encoders do",
         interaction_pyg("gnn4itk-interaction-pyg", GNN4ITK)),
    _row("gnn4itk-interaction-pyg-silu", "gnn4itk_cf: InteractionGNNWithPyG, trained without output_activation in its YAML file",
         f"{FIRST}; {EARLY}; iterations end in SiLU, encoders in nothing",
         interaction_pyg("gnn4itk-interaction-pyg-silu", GNN4ITK, silu=True)),
    _row("acorn-interaction2", "acorn: InteractionGNN2", f"{SECOND}; {LATE}; aggr other than sum means the mean",
         interaction2("acorn-interaction2", ACORN)),
    _row("acorn-interaction2-sum", "acorn: InteractionGNN2 before aggr, and its TorchScript forms",
         f"{SECOND}; {LATE}; aggr is ignored, always the sum", interaction2("acorn-interaction2-sum", ACORN, summed=True)),
    _row("gnn4itk-interaction2", "gnn4itk_cf: InteractionGNN2", f"{SECOND}; {EARLY}; always the sum",
         interaction2("gnn4itk-interaction2", GNN4ITK)),
    _row("acorn-interaction2-pyg", "acorn: InteractionGNN2WithPyG", f"{CONVS}; {LATE}; aggr as it says",
         interaction2_pyg("acorn-interaction2-pyg", ACORN)),
    _row("acorn-interaction2-pyg-sum", "acorn: InteractionGNN2WithPyG of versions that ignore aggr",
         f"{CONVS}; {LATE}; always the sum", interaction2_pyg("acorn-interaction2-pyg-sum", ACORN, summed=True)),
    _row("gnn4itk-interaction2-pyg", "gnn4itk_cf: InteractionGNN2WithPyG", f"{CONVS}; {EARLY}; a sum",
         interaction2_pyg("gnn4itk-interaction2-pyg", GNN4ITK)),
)
