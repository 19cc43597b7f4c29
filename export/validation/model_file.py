"""What a validation runs: one model file, with what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from trkx.spec import PipelineSpec


@dataclass(frozen=True)
class ModelFile:
    """One file to validate.

    Attributes:
        path: how rows call it (relative to the bundle).
        stage: "embedding", "filter" or "gnn".
        format: "onnx", "torchscript" or "aoti"; "weights" for a bundle's weights, which the tiled engine runs.
        data: its content, verified against the bundle where there is one.
        num_features: columns of x.
        width: columns of the output.
        target: a key of `trkx.export.targets.TARGETS`.
        network: the float32 module that the file was made from, in eval mode; None for a file without its source.
        cut: on sigmoid(logit), None where there is none (embedding, or unknown).
        together: a row's result depends on all rows of the event (batch norms with its statistics): portions differ by right.
        spec: of the pipeline; weights need it.
        precision: "float32", or the type inside the model.
    """

    path: str
    stage: str
    format: str
    data: bytes
    num_features: int
    width: int
    target: str
    network: nn.Module | None = None
    cut: float | None = None
    together: bool = False
    spec: PipelineSpec | None = None
    precision: str = "float32"
