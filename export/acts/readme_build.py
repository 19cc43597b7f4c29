"""The part of acts/README.md about building ACTS with its GNN plugin: options of CMake, the library, versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def build_section(config: Mapping[str, Any], backends: list[str]) -> str:
    """Return the section; options are on where a stage of acts.json needs them.

    Names of options: `Plugins/Gnn/CMakeLists.txt` and `Plugins/Gnn/README.md` of ACTS, main.
    """
    graph = (config["graph"] or {}).get("stage")
    needed = {
        "ACTS_GNN_ENABLE_TORCH": "torch" in backends or graph == "TorchMetricLearning",
        "ACTS_GNN_ENABLE_ONNX": "onnx" in backends,
        "ACTS_GNN_ENABLE_TENSORRT": "tensorrt" in backends,
        "ACTS_GNN_ENABLE_MODULEMAP": graph == "ModuleMapCuda",
    }
    cuda = needed["ACTS_GNN_ENABLE_TENSORRT"] or needed["ACTS_GNN_ENABLE_MODULEMAP"]
    options = [f"-D{name}={_word(on)}" for name, on in {**needed, "ACTS_GNN_ENABLE_CUDA": cuda}.items()]
    return "\n".join([
        "## ACTS with the plugin", "",
        "pip's wheel has no GNN plugin. Build ACTS with it, in release mode, and with the back ends that are described here:", "",
        "```",
        "cmake -S acts -B build -DCMAKE_BUILD_TYPE=Release -DACTS_BUILD_PLUGIN_GNN=ON \\",
        f"  {' '.join(options[:3])} \\",
        f"  {' '.join(options[3:])} \\",
        "  -DACTS_BUILD_EXAMPLES=ON -DACTS_BUILD_EXAMPLES_GNN=ON -DACTS_BUILD_PYTHON_BINDINGS=ON",
        "```", "",
        "The last line is for Python alone; older versions call its last option `ACTS_BUILD_EXAMPLES_PYTHON_BINDINGS`.",
        "`ACTS_GNN_ENABLE_CUDA=ON` is for GPUs. `CMAKE_PREFIX_PATH` names libtorch, ONNX Runtime and TensorRT. C++ links the",
        "library `ActsPluginGnn` (`Acts::PluginGnn` where ACTS is installed). The names were read in ACTS's",
        "`Plugins/Gnn/CMakeLists.txt` and `Plugins/Gnn/README.md`, not tried. Before version 43 the plugin was called ExaTrkX,",
        "in options, headers and classes; the code here is for headers `ActsPlugins/Gnn/` and the namespace `ActsPlugins`, which",
        "the first versions of the renamed plugin called `Acts/Plugins/Gnn/` and `Acts`.", "",
    ])


def _word(on: bool) -> str:
    return "ON" if on else "OFF"
