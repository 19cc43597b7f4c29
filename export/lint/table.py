"""All rules, in order of their ids."""

from __future__ import annotations

from collections.abc import Iterable

from trkx.errors import ExportError, unknown_name
from trkx.export.lint.finding import Rule
from trkx.export.lint.rules import (
    checker,
    constant_indices,
    dead_doors,
    door_names,
    door_types,
    external_data,
    float64_demoted,
    foreign_operators,
    frozen_axes,
    half_norm,
    half_scatter,
    mean_as_none,
    node_order,
    old_opset,
    package_platform,
    racing_scatter_nd,
    rounded_indices,
    running_sum,
    scatter_overwrites,
    scatter_shapes,
    scores_out,
    script_debug_paths,
    script_devices,
    script_frozen_sizes,
    script_operators,
    script_overwrites,
    script_pickles,
    script_precision,
    script_random,
    script_returns_input,
    script_side_effects,
    script_sigmoid,
    script_signature,
    script_unread,
    script_writes,
    short_sort,
    sort_over_edges,
    spec_metadata,
    tensorrt_limits,
    tensorrt_plugins,
    tensorrt_shapes,
    tensorrt_types,
    tensorrt_wrong,
    too_new,
    training_leftovers,
    unreadable,
    unsupported_reduction,
    weights_not_finite,
    wide_tensor,
    zero_weights,
)

RULES: tuple[Rule, ...] = (
    unreadable.RULE,
    scatter_overwrites.RULE,
    old_opset.RULE,
    racing_scatter_nd.RULE,
    mean_as_none.RULE,
    half_scatter.RULE,
    scatter_shapes.RULE,
    sort_over_edges.RULE,
    running_sum.RULE,
    unsupported_reduction.RULE,
    float64_demoted.RULE,
    half_norm.RULE,
    frozen_axes.RULE,
    foreign_operators.RULE,
    wide_tensor.RULE,
    scores_out.RULE,
    door_names.RULE,
    door_types.RULE,
    external_data.RULE,
    node_order.RULE,
    spec_metadata.RULE,
    too_new.RULE,
    checker.RULE,
    training_leftovers.RULE,
    dead_doors.RULE,
    rounded_indices.RULE,
    constant_indices.RULE,
    tensorrt_limits.RULE,
    weights_not_finite.RULE,
    zero_weights.RULE,
    tensorrt_plugins.RULE,
    tensorrt_shapes.RULE,
    tensorrt_types.RULE,
    tensorrt_wrong.RULE,
    short_sort.RULE,
    script_operators.RULE,
    script_devices.RULE,
    script_writes.RULE,
    script_sigmoid.RULE,
    script_returns_input.RULE,
    script_frozen_sizes.RULE,
    script_pickles.RULE,
    script_precision.RULE,
    script_side_effects.RULE,
    script_signature.RULE,
    script_random.RULE,
    script_overwrites.RULE,
    script_debug_paths.RULE,
    package_platform.RULE,
    script_unread.RULE,
)


def rule_of(word: str) -> Rule:
    """Return the rule with an id ("TRKX001", in any case) or a name ("scatter-overwrites").

    Raises:
        ExportError: no rule has it; the message lists all ids or all names.
    """
    found = {rule.id.lower(): rule for rule in RULES} | {rule.name: rule for rule in RULES}
    if word.lower() not in found:
        known = [rule.id if word.upper().startswith("TRKX") else rule.name for rule in RULES]
        raise ExportError(unknown_name("rule", word, known))
    return found[word.lower()]


def ids_to_ignore(words: Iterable[str]) -> frozenset[str]:
    """Return the ids of rules that are given by id or name, with commas between several.

    Raises:
        ExportError: an unknown rule, or TRKX000: a file that can't be read is never clean.
    """
    ids = frozenset(rule_of(word.strip()).id for item in words for word in item.split(",") if word.strip())
    if "TRKX000" in ids:
        raise ExportError("TRKX000 can't be ignored: of a file that can't be read nothing is known. Leave the file out instead.")
    return ids
