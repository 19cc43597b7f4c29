import pytest

from trkx.errors import SpecError
from trkx.runtime.precision import FILE_TYPES, PRECISIONS, precisions, spelled


@pytest.mark.parametrize("text, wanted", [
    ("fp32", ("fp32", "fp32", "fp32")), ("bf16", ("bf16", "bf16", "bf16")), ("mixed", ("fp32", "bf16", "bf16")),
    (" gnn = fp16 ", ("fp32", "fp32", "fp16")), ("filter=tf32,gnn=fp16", ("fp32", "tf32", "fp16")),
    ("filter=tf32+gnn=fp16", ("fp32", "tf32", "fp16")),
])
def test_words(text, wanted):
    assert tuple(precisions(text).values()) == wanted


@pytest.mark.parametrize("text, message", [
    ("half", "unknown precision 'half'"),
    ("embedding=mixed", "'mixed' is said of all networks at once .*, not of embedding alone; say one of fp32, tf32, bf16, fp16"),
    ("gmm=bf16", "unknown stage 'gmm'"),
    ("gnn=bf16,gnn=fp16", "gnn stands there twice"), ("", "unknown precision"),
])
def test_words_that_mean_nothing(text, message):
    with pytest.raises(SpecError, match=message):
        precisions(text)


def test_only_stages_that_are_there_are_named():
    present = ("embedding", "filter")
    assert precisions("mixed", present) == precisions("mixed")  # of what there is
    with pytest.raises(SpecError, match=r"precision 'gnn=bf16': this bundle has no gnn; its stages are embedding, filter"):
        precisions("gnn=bf16", present)


@pytest.mark.parametrize("text, wanted", [
    ("mixed", "filter=bf16,gnn=bf16"), ("fp32", "fp32"), ("gnn=fp32", "fp32"), ("fp16", "embedding=fp16,filter=fp16,gnn=fp16"),
])
def test_words_spelled_out_mean_the_same(text, wanted):
    assert spelled(text) == wanted
    assert precisions(spelled(text)) == precisions(text)
    assert spelled("mixed", ("embedding", "gnn")) == "gnn=bf16"


def test_every_precision_but_tf32_has_files():
    assert set(PRECISIONS) - set(FILE_TYPES) == {"tf32"}
