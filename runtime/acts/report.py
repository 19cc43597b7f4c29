"""What a sequence gave, as tables for a terminal of 80 columns, and as a record for JSON."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trkx.runtime.acts.geometry import resolution
from trkx.runtime.acts.settings import SequenceSpec

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = 1
SHOWN = ("trkx", "ckf")
"""The chains of the tables and the picture; the others are in the record."""
SHORT = {"trkx": "trkx", "ckf": "ACTS"}
"""The chains of the tables in a word."""
SCALES = {"d0": (1e3, "µm"), "z0": (1e3, "µm"), "phi": (1e3, "mrad"), "theta": (1e3, "mrad"), "qop": (1e3, "10⁻³/GeV")}
NAMES = {"d0": "d0", "z0": "z0", "phi": "φ", "theta": "θ", "qop": "q/p"}
PACKAGES = ("pyacts", "pythia8mc")


def record(results: Mapping[str, Any], spec: SequenceSpec, bundle: Mapping[str, str], engine: str) -> dict[str, Any]:
    """Return results with all that they must be read with: settings, cuts in words, versions, machine.

    Args:
        results: of `run_sequence`.
        spec: of the sequence.
        bundle: "name" and "weights" (SHA-256).
        engine: of the pipeline.
    """
    from trkx.runtime.bench.machine import machine_facts

    return {
        "schema": SCHEMA,
        "bundle": dict(bundle),
        "engine": engine,
        "machine": machine_facts(spec.threads),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "settings": spec.to_dict(),
        "particles": spec.particles.describe(),
        "tracks": spec.tracks.describe(),
        "matching": "ACTS's TrackTruthMatcher: at least half of the track's measurements and of the particle's",
        "detector": "ACTS's generic detector, 2 T, Fatras with material",
        "resolution_mm": {str(volume): list(widths) for volume, widths in resolution().items()},
        "chain_seconds": chain_seconds(results),
        **results,
    }


def chain_seconds(results: Mapping[str, Any]) -> dict[str, float]:
    """Return seconds an event by chain ("simulation", "trkx", "ckf", "referee"), all elements added."""
    found: dict[str, float] = {}
    for step in results["times"]:
        found[step["chain"]] = found.get(step["chain"], 0.0) + step["seconds"]
    return found


def sequence_table(results: Mapping[str, Any], title: str) -> Table:
    """Return the table of both chains: rates, widths of residuals and pulls, time an event."""
    from rich.table import Table
    from rich.text import Text

    chains = [results["chains"][name] for name in SHOWN]
    table = Table(title=Text(title))
    table.add_column("ACTS says")
    for chain in chains:
        table.add_column(chain["words"], justify="right")
    rates = (
        ("efficiency", "found", "particles"), ("… produced anywhere", "found_anywhere", "particles_anywhere"),
        ("fake rate", "fakes", "tracks"), ("duplicate rate", "duplicates", "tracks"),
    )  # fmt: skip
    for words, part, whole in rates:
        table.add_row(words, *(_share(chain[part], chain[whole]) for chain in chains))
    for words in ("completeness", "purity"):
        table.add_row(f"mean {words}", *(_percent(chain[words]) for chain in chains))
    table.add_section()
    for name, (scale, unit) in SCALES.items():
        widths = (chain["resolution"][name] for chain in chains)
        table.add_row(f"{NAMES[name]} residual ({unit})", *(_width(w["res_width"], w["res_width_error"], scale) for w in widths))
    for name in SCALES:
        widths = (chain["resolution"][name] for chain in chains)
        table.add_row(f"{NAMES[name]} pull", *(_width(w["pull_width"], w["pull_width_error"], 1.0) for w in widths))
    table.add_section()
    seconds = chain_seconds(results)
    table.add_row("wall time (ms/event)", *(f"{1e3 * seconds[name]:,.0f}" for name in SHOWN))
    table.add_row("processor (ms/event)", *(f"{1e3 * results['processor_seconds'][name]:,.0f}" for name in SHOWN))
    return table


def steps_table(results: Mapping[str, Any]) -> Table:
    """Return the table of what each element of both chains took."""
    from rich.table import Table

    table = Table()
    for name, side in (("chain", "left"), ("ACTS's timing of", "left"), ("wall ms/event", "right")):
        table.add_column(name, justify="right" if side == "right" else "left")
    for chain in SHOWN:
        for step in results["times"]:
            if step["chain"] == chain:
                table.add_row(SHORT[chain], step["step"], f"{1e3 * step['seconds']:,.1f}")
        table.add_section()
    return table


def own_words(results: Mapping[str, Any]) -> str:
    """Return trkx's own evaluation of its proto tracks, in words that say where its fakes are not ACTS's."""
    rates = results["own"]["total"]["rates"]
    majority, fake, unmatched = (
        _share(rates[name]["count"], rates[name]["of"]) for name in ("efficiency_double_majority", "fake_rate", "unmatched_rate")
    )
    return (
        f"trkx's own evaluation of its proto tracks, before fit and cuts: double majority {majority}; fakes {fake}: here "
        "tracks of which no particle owns more than half; ACTS calls fake what misses the double majority, short pieces of long "
        f"tracks too: {unmatched}."
    )


def run_words(results: Mapping[str, Any]) -> str:
    """Return how many events of what, in words."""
    events, pileup, hard = (results["settings"][name] for name in ("events", "pileup", "hard"))
    collisions = f"{pileup} pile-up collision{'' if pileup == 1 else 's'}"
    return f"{events} event{'' if events == 1 else 's'}, {'top pair and ' if hard else ''}{collisions}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} % ({part}/{whole})" if whole else "- (none)"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _width(width: float | None, error: float | None, scale: float) -> str:
    """Return "width ± error", the error with two digits; a width that is not larger than its error says nothing."""
    if width is None or error is None or not 0.0 < error < width:
        return "too few tracks"
    digits = max(0, 1 - math.floor(math.log10(scale * error)))
    return f"{scale * width:.{digits}f} ± {scale * error:.{digits}f}"
