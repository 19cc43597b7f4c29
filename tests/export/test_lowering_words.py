"""What `--lowering` means: a target's, by name; alone, of the only target that it can be meant for."""

from __future__ import annotations

import pytest

from trkx.errors import ExportError
from trkx.export.lowerings.words import lowerings_of


@pytest.mark.parametrize(
    ("words", "targets", "meant"),
    [
        ([], ["ort-cpu", "tensorrt"], {}),
        (["tensorrt=scatter"], ["ort-cpu", "tensorrt"], {"tensorrt": "scatter"}),
        (["scatter"], ["ort-cpu"], {"ort-cpu": "scatter"}),
        (["scatter"], ["ort-cpu", "ort-cpu", "libtorch", "acts-torch"], {"ort-cpu": "scatter"}),  # TorchScript has none
        (["segments"], ["ort-cpu", "tensorrt"], {"tensorrt": "segments"}),
        (["prefix64", "tensorrt=scatter"], ["ort-cpu", "tensorrt"], {"ort-cpu": "prefix64", "tensorrt": "scatter"}),
        (["ort-cpu=doubling, ort-cuda = doubling"], ["ort-cpu", "ort-cuda"], {"ort-cpu": "doubling", "ort-cuda": "doubling"}),
    ],
)
def test_what_is_meant(words: list[str], targets: list[str], meant: dict[str, str]) -> None:
    assert lowerings_of(words, targets) == meant


@pytest.mark.parametrize(
    ("words", "targets", "message"),
    [
        (["scatter"], ["ort-cpu", "tensorrt"], r"scatter can be meant for ort-cpu and tensorrt; say which: --lowering "
                                               r"ort-cpu=scatter or --lowering tensorrt=scatter \(repeatable\)"),
        (["segments"], ["ort-cpu", "ort-cuda"], "segments is not right or not fast on any target of this export; they take "
                                                "ort-cpu: buckets, scatter, prefix64, doubling; ort-cuda: scatter, doubling"),
        (["tensorrt=buckets"], ["ort-cpu", "tensorrt"], "buckets is not right or not fast on tensorrt; choose segments or"),
        (["tensorrt=scatter"], ["ort-cpu"], "no file is written for tensorrt; add --target tensorrt, or name one of ort-cpu"),
        (["tensort=scatter"], ["ort-cpu", "tensorrt"], "unknown target 'tensort'. Did you mean 'tensorrt'"),
        (["acts-torch=scatter"], ["ort-cpu", "acts-torch"], "acts-torch takes torchscript files, in which sums are torch's own"),
        (["scater"], ["ort-cpu"], "unknown lowering 'scater'. Did you mean 'scatter'"),
        (["ort-cpu=scater"], ["ort-cpu"], "unknown lowering 'scater'"),
        ([""], ["ort-cpu"], "unknown lowering ''"),
        (["ort-cpu="], ["ort-cpu"], "unknown lowering ''"),
        (["scatter", "ort-cpu=doubling"], ["ort-cpu"], "ort-cpu has scatter already; a file has one lowering, give one"),
    ],
)
def test_what_is_refused(words: list[str], targets: list[str], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        lowerings_of(words, targets)
