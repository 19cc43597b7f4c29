"""One model file of an ACTS target with what ACTS is told of it, and the emulated stage that opens it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trkx.export.acts.emulated_onnx import OnnxEdgeClassifier
from trkx.export.acts.emulated_tensorrt import TensorRTEdgeClassifier
from trkx.export.acts.emulated_torch import TorchEdgeClassifier
from trkx.export.acts.emulator import Classifier, Read, stage_of
from trkx.export.acts.metric_learning import TorchMetricLearning
from trkx.export.check import Expectation
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import Oracle
from trkx.export.validation.report import Row, Status
from trkx.spec import PipelineSpec

GROUP = "acts"
CLASSIFIERS: Mapping[str, Callable[[Mapping[str, Any], Read], Classifier]] = {
    "TorchEdgeClassifier": TorchEdgeClassifier,
    "OnnxEdgeClassifier": OnnxEdgeClassifier,
    "TensorRTEdgeClassifier": TensorRTEdgeClassifier,
}
MAKERS: Mapping[str, Callable[[Mapping[str, Any], Read], TorchMetricLearning]] = {"TorchMetricLearning": TorchMetricLearning}


@dataclass(frozen=True)
class Trained:
    """What the pipeline's own network says of the graph it was trained on, in the direction it was trained with, and of whom."""

    expectation: Expectation
    oracle: Oracle


@dataclass(frozen=True)
class Subject:
    """A file to emulate.

    file: with the network in ACTS's form. options: of its stage in acts.json. spec: of the pipeline. zoo: what the float64
    network in ACTS's form says of graphs as ACTS feeds them, an event first. trained: the same event for the own network.
    """

    file: ModelFile
    options: Mapping[str, Any]
    spec: PipelineSpec
    zoo: Sequence[Expectation]
    trained: Trained | None = None
    event: Expectation = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "event", self.zoo[0])

    @property
    def stage(self) -> str:
        """Name of the plugin's stage."""
        return str(self.options.get("stage"))

    def read(self, name: str) -> bytes:
        """Return the content of the file, whatever it is called."""
        return self.file.data

    def classifier(self, **changes: Any) -> Classifier:
        """Return the file opened as the plugin opens it; changes: options that are to be others than in acts.json."""
        opened: Classifier = stage_of({**self.options, **changes}, CLASSIFIERS, self.read)
        return opened

    def embedding(self, **changes: Any) -> TorchMetricLearning:
        """Return the same of an embedding."""
        opened: TorchMetricLearning = stage_of({**self.options, **changes}, MAKERS, self.read)
        return opened

    def row(
        self, case: str, status: Status, detail: str = "", difference: float | None = None, tolerance: float | None = None
    ) -> Row:
        """Return a row about the file."""
        engine = f"emulated {self.stage}"
        return Row(GROUP, self.file.stage, self.file.path, engine, case, status, difference, tolerance, detail)
