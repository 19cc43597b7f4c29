"""TRKX046: a pickle in the archive that names what no TorchScript file needs."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import archive_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.models.checkpoints.stored import DTYPES, Name
from trkx.shown import shown

KNOWN = frozenset((
    "collections.OrderedDict", "torch.device", "torch.Size", "torch.storage.UntypedStorage", "torch.storage.TypedStorage",
    "builtins.complex", "__builtin__.complex", "torch.Generator", "torch.distributed.rpc.rref",
))
PREFIXES = ("__torch__.", "torch.jit._pickle.", "torch._utils._rebuild_", "torch.distributed.rpc.")


def check(subject: Subject) -> Iterator[Remark]:
    """Yield each global of a pickle that is neither the module's own class nor one of torch's."""
    for member, content in archive_of(subject).pickles.items():
        for name in content.globals:
            if not _expected(name):
                yield Remark(f"names {shown(str(name))}, which an unpickler of Python would import and call", shown(member))


def _expected(name: Name) -> bool:
    text = str(name)
    return text in KNOWN or text.startswith(PREFIXES) or (name.module == "torch" and name.name in DTYPES)


RULE = Rule(
    id="TRKX046",
    name="script-hostile-pickle",
    title="a pickle that names foreign code",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "torch writes classes of the file itself, tensors and containers into these pickles, nothing else. libtorch "
        "imports nothing, but whoever opens the archive with Python's pickle or torch.load(weights_only=False) runs what "
        "the pickle names."
    ),
    affected="any file from an untrusted source",
    fix="Do not open the file with pickle or torch.load; get it again from whoever made it.",
    link="https://docs.python.org/3/library/pickle.html#restricting-globals",
    check=check,
)
