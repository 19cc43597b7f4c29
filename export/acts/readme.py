"""acts/README.md: what lies there, how ACTS takes it, and the traps, made from acts.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trkx.export.acts.readme_build import build_section

READ = "main of August 2026 (plugin `Plugins/Gnn`) and the Python layer of version 48"
"""What the statements about ACTS were read from."""

_TRAPS = """## Traps

1. **Logits.** The models give logits; ACTS applies the sigmoid itself and keeps scores above the cut. Put no sigmoid before
   or after.
2. **Scales are outside of the models.** ACTS divides the features by `featureScales`; with others, or with features in another
   order, it runs without a word and finds nothing. They stand in `acts.json` and belong to these files alone.
3. **`selectedFeatures`** picks columns in the listed order in the Torch stages, may be a mask in the ONNX stage, and is not
   looked at by TensorRT. Here every file takes all columns in ascending order, for which all three mean the same. Left empty,
   the metric learning stage fails.
4. **`undirected` stays false.** ACTS would feed each edge both ways and keep one half of the scores.
5. **`nChunks` stays 1 for a GNN.** Chunks cut the edges, not the work: messages between chunks are lost. A filter that judges
   each edge by itself needs less memory in chunks, but ACTS throws on a chunk of a single edge: with `nChunks` n, an event of up
   to n * n candidate edges may end a job. So it is 1 there too; raise it only where there are no such events.
6. **`shuffleDirections` stays false**: it turns edges at random.
7. **Debug builds** of ACTS abort in the CPU metric learning stage, whatever the model: the edge list there is not contiguous. Use
   a release build.
8. **CUDA cuts neighbours.** On the CPU `knnVal` reserves memory; on CUDA it is the largest number of neighbours of a hit. CPU
   and CUDA then give different graphs.
9. **TF32.** ONNX Runtime and libtorch may multiply in TF32 on GPUs from Ampere on, with 10 bits of mantissa: scores move by about
   1e-3. Set `NVIDIA_TF32_OVERRIDE=0` to compare with a CPU.
10. **An empty event** has no features to read; skip it before the algorithm.
11. **Newer options.** Later sources have a few more, `modelDevice` and `phiScale` among them; their defaults are what is wanted
   here. Compare the `Config` structs of your version with the table above.
12. **Whole files.** Weights are inside; the models hold no device, write into no input and may be shared by threads.
"""


def readme(config: Mapping[str, Any]) -> str:
    """Return the text of README.md."""
    backends = list(dict.fromkeys(stage["backend"] for stage in config["classifiers"]))
    parts = [_head(config), build_section(config, backends), _python(config, backends), _cpp(config, backends)]
    if "tensorrt" in backends:
        parts.append(_engines(config))
    parts += ["## What ACTS does otherwise than trkx", "", *(f"- {item}" for item in config["differences"]), "", _TRAPS]
    return "\n".join(parts)


def _head(config: Mapping[str, Any]) -> str:
    title = " ".join(config["pipeline"].split())
    lines = [
        f"# {title} in ACTS", "",
        f"Read from ACTS {READ}.", "",
        "| file | stage of ACTS | options |", "|---|---|---|",
    ]
    stages = [*([config["graph"]] if config["graph"] else []), *config["classifiers"], config["track_building"]]
    hidden = ("stage", "backend", "network", "model", "profile", "measured_neighbours", "measured_on")
    for stage in stages:
        options = ", ".join(f"{key} {_shown(value)}" for key, value in stage.items() if key not in hidden)
        lines.append(f"| {stage.get('model', '')} | {stage['stage']} | {options} |")
    if config["embedding_onnx"]:
        lines.append(f"| {config['embedding_onnx']} | none: for programs that build edges from an ONNX embedding themselves | |")
    columns = ", ".join(f"{name} / {scale!r}" for name, scale in zip(config["features"], config["feature_scales"], strict=True))
    lines += ["", f"Node features, mm and radians: {columns}.", ""]
    return "\n".join(lines)


def _cut(config: Mapping[str, Any]) -> str:
    """Return the GNN's cut that the examples give, "" where they leave that of acts.json."""
    return f"{config['components']['cut_for_components']!r}" if config["components"] else ""


def _python(config: Mapping[str, Any], backends: list[str]) -> str:
    graph = config["graph"]
    more = ""
    if graph is None:
        more = ", graph_constructor=mine"
    elif graph["stage"] == "ModuleMapCuda":
        more = ', device="cuda", module_map="PATH"'
    clusters = ', input_clusters="clusters"' if config["needs_clusters"] else ""
    cut = f", gnn_cut={_cut(config)}" if _cut(config) else ""
    first = backends[0] if backends else "torch"
    words = ", ".join(backends) or "none"
    return "\n".join([
        "## Python", "",
        "```python",
        "from acts_pipeline import gnn_algorithm  # this folder in sys.path; models are found beside it", "",
        f'sequencer.addAlgorithm(gnn_algorithm("{first}"{more}{clusters}{cut}))',
        "```", "",
        f"Back ends here: {words}. The result is the collection `gnn-protoTracks`. `stages(...)` gives the three parts alone,",
        "for ACTS's own `addGnn`: pass it `FEATURES` (as `NodeFeature`s) and `FEATURE_SCALES` too. `gnn_cut` is the GNN's cut,",
        "where it is to be another than that of `acts.json`.", "",
    ])


def _cpp(config: Mapping[str, Any], backends: list[str]) -> str:
    graph, first = config["graph"], backends[0] if backends else "torch"
    cut = f", {_cut(config)}f" if _cut(config) else ""
    stages = f"trkx_acts::{first}Classifiers(folder, {'level' if first == 'tensorrt' else 'device, level'}{cut})"
    made = "mine" if graph is None else "trkx_acts::graphConstructor(" + (
        "moduleMap, level)" if graph["stage"] == "ModuleMapCuda" else "folder, device, level)")
    return "\n".join([
        "## C++", "",
        "```cpp",
        '#include "acts_pipeline.hpp"', "",
        f"const ActsPlugins::GnnPipeline pipeline({made},",
        f"                                        {stages},",
        "                                        trkx_acts::trackBuilder(level), std::move(logger));", "",
        "std::vector<float> features;           // of each space point trkx_acts::features, divided by trkx_acts::featureScales",
        "std::vector<std::uint64_t> modules;    // of each the geometry id of its module: module maps alone read it",
        "std::vector<int> ids;                  // of each a number of yours: candidates are lists of them",
        f"// {len(config['features'])} features a space point, row after row; then, unless there is none:",
        "const std::vector<std::vector<int>> candidates = pipeline.run(features, modules, ids, device);",
        "```", "",
        "`run` writes into its arguments: fill them anew for each event. The pipeline itself may serve many threads.", "",
    ])


def _engines(config: Mapping[str, Any]) -> str:
    lines = ["## TensorRT", "",
             "An engine is built where it runs, with exactly one profile. ACTS drops events with more hits than its largest, and",
             "the edges beyond its largest number:", ""]
    for stage in config["classifiers"]:
        if stage["backend"] != "tensorrt":
            continue
        columns, shapes = len(config["features"]), []
        for name in ("min", "opt", "max"):
            size = stage["profile"][name]
            shape = f"x:{size['hits']}x{columns},edge_index:2x{size['edges']},edge_attr:{size['edges']}x6"
            shapes.append(f"--{name}Shapes={shape}")
        lines += ["```", f"trtexec --onnx={stage['model']} --saveEngine={stage['engine']} \\",
                  *(f"  {shape} \\" for shape in shapes[:2]), f"  {shapes[2]}", "```", ""]
    return "\n".join([*lines, "Set the largest numbers for your module map; those of edge_index and edge_attr must agree.", ""])


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`"
