"""The model card of a bundle: the pipeline's own, or a short one made from its spec, followed by the facts of the export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trkx.export.check import CheckRow
from trkx.export.pipeline_folder import Source
from trkx.manifest import FileEntry

HEADING, ORIGIN = "## Export", "## Checkpoints"
TITLES = {"embedding": "Embedding", "filter": "Filter", "gnn": "GNN"}


def model_card(source: Source, files: Sequence[FileEntry], rows: Sequence[CheckRow], provenance: Mapping[str, Any]) -> str:
    """Return the card as Markdown: what the networks are, then when and with what they were exported and how they compare."""
    text = source.card.read_text(encoding="utf-8").rstrip() if source.card else _described(source)
    for heading in (HEADING, ORIGIN):
        text = text.split(f"\n{heading}\n")[0].rstrip()
    return text + "\n\n" + _assumed(source) + _exported(files, rows, provenance)


def _described(source: Source) -> str:
    spec = source.spec
    features = ", ".join(f"{f.name} / {f.scale:g}" for f in spec.features)
    networks = []
    for stage, network in spec.networks.items():
        cut = spec.cut(stage)
        networks.append(f"- {TITLES[stage]}: {network.summary}" + ("" if cut is None else f", cut {cut:g}"))
        if stage == "embedding" and spec.graph is not None:
            networks.append(f"- Graph: pairs within {spec.graph.radius:g} in the embedding, direction {spec.graph.direction}")
    return "\n".join([
        f"# {spec.name}",
        "",
        "No model card came with this pipeline: on what it was trained, and how well it does, is not known here.",
        "",
        f"- Node features: {features} (mm, radians or counts, divided by the scale)",
        *networks,
        f"- Tracks: {spec.labelling.method}, at least {spec.labelling.min_hits} hits",
    ])


def _assumed(source: Source) -> str:
    """Return what was made of the checkpoints of other code bases, "" for our own."""
    if not source.readings:
        return ""
    return "\n".join([ORIGIN, "", *(f"- {note}" for note in source.notes), "", ""])


def _exported(files: Sequence[FileEntry], rows: Sequence[CheckRow], provenance: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in provenance["versions"].items())
    lines = [
        HEADING,
        "",
        f"Exported {provenance['created']} with {versions}.",
        "Each file was compared with the float64 network before the bundle was put in place:",
        "",
        "| file | bytes | comparisons | largest difference | on graph |",
        "|---|---|---|---|---|",
    ]
    for entry in files:
        own = [row for row in rows if row.file == entry.path and row.difference == row.difference]  # not NaN
        worst = max(own, key=lambda row: row.difference, default=None)
        if worst is not None:
            lines.append(f"| {entry.path} | {entry.bytes} | {len(own)} | {worst.difference:.2g} | {worst.graph} |")
    return "\n".join([*lines, ""])
