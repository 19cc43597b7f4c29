"""The table of families, and which of them a checkpoint is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trkx.errors import CheckpointError, unknown_name
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.acorn import ACORN_FAMILIES
from trkx.models.families.attention import ATTENTION_FAMILIES
from trkx.models.families.embeddings import EMBEDDING_FAMILIES
from trkx.models.families.filters import FILTER_FAMILIES
from trkx.models.families.interaction import INTERACTION_FAMILIES
from trkx.models.families.reading import Absent, Family, Mismatch, Missing, Reading

FAMILIES: tuple[Family, ...] = (
    *EMBEDDING_FAMILIES, *FILTER_FAMILIES, *ATTENTION_FAMILIES, *INTERACTION_FAMILIES, *ACORN_FAMILIES,
)


HYPER = "Give hyper-parameters as hparams.yaml beside it, or --gnn-hparams FILE and the like (`trkx inspect`: --hparams)."


def family_of(name: str, stage: str | None = None) -> Family:
    """Return a row of the table; CheckpointError lists the known ones, those of a stage if it is given."""
    rows = [family for family in FAMILIES if stage in (None, family.stage)]
    for family in rows:
        if family.name == name:
            return family
    raise CheckpointError(unknown_name(f"family of {stage} networks" if stage else "family", name, [row.name for row in rows]))


def recognise(checkpoint: Checkpoint, stage: str | None = None, family: str | None = None) -> Reading:
    """Return what a checkpoint is as a network of ours.

    Args:
        checkpoint: opened; its weights are not read.
        stage: what it is meant for, None if that is not known.
        family: name of the row that it must be.

    Raises:
        CheckpointError: no family fits, or several do and nothing in the file tells them apart; the message lists them, what
            they compute differently, and the option that chooses.
    """
    rows = [family_of(family, stage)] if family else [row for row in FAMILIES if stage in (None, row.stage)]
    found: list[Reading] = []
    reasons: dict[str, Mismatch] = {}
    for row in rows:
        try:
            found += row.read(checkpoint)
        except Mismatch as mismatch:
            reasons[row.name] = mismatch
    silent = {name: str(reason) for name, reason in reasons.items() if isinstance(reason, Missing)}
    if not found:
        raise CheckpointError(_none_fits(checkpoint, stage, family, reasons, silent))
    if any(reading.certain for reading in found):
        found = [reading for reading in found if reading.certain]
        silent = {}
    found = _different(found)
    if len(found) > 1 or silent:  # a look-alike must not lose because the file is silent
        raise CheckpointError(_open_choice(checkpoint, [reading.family for reading in found], silent))
    return found[0]


def _none_fits(
    checkpoint: Checkpoint, stage: str | None, family: str | None, reasons: Mapping[str, Mismatch], silent: Mapping[str, str]
) -> str:
    """Return why a checkpoint is nothing: what comes near in full, all others in a number."""
    near = {name: reason for name, reason in reasons.items() if family or not isinstance(reason, Absent)}
    lines = [f"  {name} ({family_of(name).title}): {reason}" for name, reason in near.items()]
    others = len(reasons) - len(near)
    if others:
        lines.append(f"  {others} other families: it has no networks of their names")
    if silent:
        lines.append(HYPER)
    what = family or (f"{stage} network" if stage else "network")
    elsewhere = [] if family or stage is None else _other_stages(checkpoint, stage)
    if elsewhere:
        return f"{checkpoint.path}: no {what}, but {' or '.join(elsewhere)}. Give it with that option."
    return f"{checkpoint.path}: no {what} that trkx knows. It holds {_summary(checkpoint)}; not, because:\n" + "\n".join(lines)


def _other_stages(checkpoint: Checkpoint, stage: str) -> list[str]:
    """Return what a checkpoint is for other stages than the one that it was given for."""
    found: dict[str, str] = {}
    for row in FAMILIES:
        if row.stage == stage:
            continue
        try:
            for reading in row.read(checkpoint):
                found.setdefault(reading.stage, f"a {reading.stage} ({reading.family}): --{reading.stage}")
        except Mismatch:
            continue
    return list(found.values())


def _different(found: Sequence[Reading]) -> list[Reading]:
    """Return the readings that compute different things, the first of those that are the same."""
    kept: list[Reading] = []
    for reading in found:
        if all((reading.spec, dict(reading.weights)) != (other.spec, dict(other.weights)) for other in kept):
            kept.append(reading)
    return kept


def _open_choice(checkpoint: Checkpoint, found: Sequence[str], silent: Mapping[str, str]) -> str:
    names = dict.fromkeys((*found, *silent))
    if len(names) == 1:  # choosing the family decides nothing
        return (f"{checkpoint.path}: is read as {next(iter(names))}, but its keys fit networks with other norms or aggregations "
                f"as well, and the hyper-parameters that tell are missing.\n{HYPER}")
    lines = [f"  --{row.stage}-family {row.name}: {row.title}; {row.forward}" for row in map(family_of, names)]
    lines += [HYPER] if silent else []
    source = checkpoint.hyper_source
    why = f"its hyper-parameters ({source}) do not tell which" if source else "there are no hyper-parameters to tell which"
    return (f"{checkpoint.path}: keys and shapes fit several networks that compute different things, and {why}. A wrong "
            "choice gives wrong tracks without an error, so choose (`trkx inspect` takes --family):\n" + "\n".join(lines))


def _summary(checkpoint: Checkpoint) -> str:
    """Return the names of the tensors, shortened to their first parts."""
    parts = dict.fromkeys(key.split(".")[0] for key in checkpoint.shapes)
    names = ", ".join(list(parts)[:8]) + (" …" if len(parts) > 8 else "")
    return f"{len(checkpoint.shapes)} tensors ({names})" if parts else "no tensors"
