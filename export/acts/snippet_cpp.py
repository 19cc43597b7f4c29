"""acts_pipeline.hpp: the files in ACTS's C++, every option of every Config struct set, made from acts.json alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trkx.export.acts.snippet_python import NEVER

_HEAD = """// The track finding of {title} in ACTS: graph constructor, edge classifiers and track builder with every option set.
//
// Made by trkx from acts.json, which lies beside this file together with the models; README.md tells the versions and the traps.
// Include this file and link ActsPluginGnn. All functions are inline: what is not called asks for no back end that your ACTS
// was built without.

#pragma once

#include <Acts/Utilities/Logger.hpp>
{includes}
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace trkx_acts {{

/// Columns of the node features: names of TrackFindingAlgorithmGnn::NodeFeature without their e, and what each is divided by.
inline const std::vector<std::string> features = {names};
inline const std::vector<float> featureScales = {scales};
inline constexpr bool needsClusters = {clusters};

/// Of TrackFindingAlgorithmGnn::Config.
inline constexpr std::size_t minMeasurementsPerTrack = {measurements};
inline constexpr bool shrinkNodes = {shrink};

{components}using Classifiers = std::vector<std::shared_ptr<ActsPlugins::EdgeClassificationBase>>;
"""

_FUNCTION = """
/// {comment}
inline {result} {name}(
    {parameters}) {{
{body}
}}
"""

FOLDER = "const std::filesystem::path& folder"
PLACE = "const ActsPlugins::Device& device, Acts::Logging::Level level"


def cpp_snippet(config: Mapping[str, Any]) -> str:
    """Return the text of acts_pipeline.hpp; its values are those of acts.json, to the last digit."""
    graph, building = config["graph"], config["track_building"]
    backends = dict.fromkeys(stage["backend"] for stage in config["classifiers"])
    used = [building["stage"], *([graph["stage"]] if graph else []), *(stage["stage"] for stage in config["classifiers"])]
    includes = [f"#include <ActsPlugins/Gnn/{name}.hpp>" for name in sorted({*used, "GnnPipeline", "Stages"})]
    parts = [_HEAD.format(
        title=json.dumps(config["pipeline"]).replace("\\", "").replace('"', "'"),
        includes="\n".join([*includes, ""]),
        names=_value(config["features"]),
        scales=_value(config["feature_scales"]),
        clusters=_value(config["needs_clusters"]),
        measurements=config["algorithm"]["minMeasurementsPerTrack"],
        shrink=_value(config["algorithm"]["shrinkNodes"]),
        components=_components(config["components"]),
    )]
    if graph is not None:
        parts.append(_graph(graph))
    for backend in backends:
        stages = [stage for stage in config["classifiers"] if stage["backend"] == backend]
        parts.append(_classifiers(backend, stages))
    body = [*_stage(building, device=False), *_made(building["stage"])]
    parts.append(_FUNCTION.format(
        comment="The track builder: connected components of the edges that are left.", name="trackBuilder",
        result="std::shared_ptr<ActsPlugins::TrackBuildingBase>", parameters="Acts::Logging::Level level", body="\n".join(body),
    ))
    return "".join([*parts, "\n}  // namespace trkx_acts\n"])


def _components(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    text = "/// Cut of the GNN that was measured to be the best for connected components; README.md tells how.\n"
    return f"{text}inline constexpr float cutForComponents = {_value(found['cut_for_components'])};\n\n"


def _graph(graph: Mapping[str, Any]) -> str:
    maps = graph["stage"] == "ModuleMapCuda"
    body = _stage(graph, device=not maps)
    if maps:
        body.insert(1, "  config.moduleMapPath = moduleMap.string();")
    body += _made(graph["stage"])
    parameters = "const std::filesystem::path& moduleMap, Acts::Logging::Level level" if maps else f"{FOLDER}, {PLACE}"
    comment = f"The graph constructor; {'moduleMap: path of the module map' if maps else 'folder: that of the models'}."
    return _FUNCTION.format(
        comment=comment, name="graphConstructor", result="std::shared_ptr<ActsPlugins::GraphConstructionBase>",
        parameters=parameters, body="\n".join(body),
    )


def _made(stage: str) -> list[str]:
    return [f"  return std::make_shared<ActsPlugins::{stage}>(", f'      config, Acts::getDefaultLogger("{stage}", level));']


def _classifiers(backend: str, stages: Sequence[Mapping[str, Any]]) -> str:
    body, more = ["  Classifiers found;"], ""
    for stage in stages:
        lines = _stage(stage, device=backend != "tensorrt")
        if stage["network"] == "gnn":
            more = f", float gnnCut = {_value(stage['cut'])}"
            lines = [line if not line.startswith("  config.cut = ") else "  config.cut = gnnCut;" for line in lines]
        made = [f"    found.push_back(std::make_shared<ActsPlugins::{stage['stage']}>(",
                f"        config, Acts::getDefaultLogger(\"{stage['network']}\", level)));"]
        body += ["  {", *(f"  {line}" for line in lines), *made, "  }"]
    return _FUNCTION.format(
        comment=f"The edge classifiers with the back end {backend}, in order; folder: that of the models."
        f"{' gnnCut: edges of the GNN with a score above stay.' if more else ''}",
        name=f"{backend}Classifiers", result="Classifiers", body="\n".join([*body, "  return found;"]),
        parameters=f"{FOLDER}, {PLACE if backend != 'tensorrt' else 'Acts::Logging::Level level'}{more}",
    )


def _stage(stage: Mapping[str, Any], device: bool) -> list[str]:
    """Return the lines that fill a Config struct."""
    lines = [f"  ActsPlugins::{stage['stage']}::Config config;"]
    path = stage.get("engine", stage.get("model"))
    if path is not None:
        lines.append(f'  config.modelPath = (folder / "{path}").string();')
    lines += [f"  config.{key} = {_value(value)};" for key, value in stage.items() if key not in NEVER]
    return [*lines, "  config.device = device;"] if device else lines


def _value(value: Any) -> str:
    """Return a value of acts.json as a C++ literal; fractions as float, which is what ACTS holds them in."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value!r}f"
    if isinstance(value, list):
        return f"{{{', '.join(_value(item) for item in value)}}}"
    return str(value)
