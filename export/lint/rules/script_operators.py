"""TRKX040: TorchScript code that uses operators which libtorch does not have."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import archive_of, distinct
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.shown import shown

IN_LIBTORCH = frozenset((
    "aten", "prim", "quantized", "_quantized", "sparse", "mkldnn", "mkldnn_prepacked", "onednn", "prepacked", "mkl", "profiler",
    "static_runtime", "c10d", "rpc", "inductor",
))
"""Namespaces of operators that a plain libtorch registers."""
CLASSES_IN_LIBTORCH = frozenset(("quantized", "sparse", "mkldnn", "onednn", "xnnpack", "profiling", "rnn", "dist_rpc"))


def check(subject: Subject) -> Iterator[Remark]:
    """Yield each foreign operator, wherever in the code: loading fails even if it is never reached."""
    return distinct(_remarks(subject))


def _remarks(subject: Subject) -> Iterator[Remark]:
    archive = archive_of(subject)
    for where, _, name in archive.script.calls:
        parts = name.split(".")
        if parts[0] == "ops" and len(parts) >= 3 and parts[1] not in IN_LIBTORCH:
            yield Remark(f"operator {shown(f'{parts[1]}::{parts[2]}')} is not part of libtorch", where)
        if name.startswith("__torch__.torch.classes.") and len(parts) > 3 and parts[3] not in CLASSES_IN_LIBTORCH:
            yield Remark(f"class {shown('.'.join(parts[3:5]))} is not part of libtorch", where)


RULE = Rule(
    id="TRKX040",
    name="script-foreign-operator",
    title="an operator that libtorch does not have",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "torch_scatter, torch_sparse, torch_cluster and torchvision register operators of their own. Without exactly that "
        "library linked into the program, loading stops with 'Unknown builtin op'; ACTS links none of them."
    ),
    affected="all versions of libtorch and of ACTS",
    fix="Use torch's own operators: index_add or scatter_add for sums, scatter_reduce for max and mean, and export again.",
    link="https://github.com/rusty1s/pytorch_scatter/issues/147",
    check=check,
)
