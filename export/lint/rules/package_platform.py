"""TRKX053: a compiled .pt2 package that this machine, or the target, can't run."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path

from trkx.export.lint.code import archive_of, distinct
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.shown import shown

FOLDER = "data/aotinductor/"
MACHINES: Mapping[int, str] = {0x3E: "x86_64", 0xB7: "aarch64", 0x15: "ppc64le", 0xF3: "riscv64", 0x03: "i686", 0x28: "arm"}
"""Numbers of machines in the head of an ELF file."""
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def check(subject: Subject) -> Iterator[Remark]:
    """Yield what does not fit: no library, one for another machine or device, instructions that this processor lacks."""
    return distinct(_remarks(subject))


def _remarks(subject: Subject) -> Iterator[Remark]:
    archive = archive_of(subject)
    models = sorted({name.removeprefix(FOLDER).split("/")[0] for name in archive.members if name.startswith(FOLDER)})
    for model in models:
        prefix = f"{FOLDER}{model}/"
        libraries = [name for name in archive.headers if name.startswith(prefix)]
        if not libraries:
            yield Remark(f"model '{shown(model)}' has no shared library: it was packaged, not compiled", shown(prefix), "error")
        for name in libraries:
            yield from _library(archive.headers[name], shown(name))
        records = [name for name in archive.texts if name.startswith(prefix)]
        if not records:
            yield Remark(f"model '{shown(model)}' does not say for which device it was compiled", shown(prefix))
        for name in records:
            yield from _metadata(archive.texts[name], shown(name), subject)


def _library(head: bytes, where: str) -> Iterator[Remark]:
    if head[:4] != b"\x7fELF":
        if platform.system() == "Linux":
            yield Remark("the library is not one of Linux (no ELF)", where)
        return
    order = "little" if head[5:6] == b"\x01" else "big"
    number = int.from_bytes(head[18:20], "little" if order == "little" else "big")
    found = MACHINES.get(number, f"machine number {number}")
    if found != _here():
        yield Remark(f"the library is for {found}, this machine is {_here()}", where)


def _metadata(text: str, where: str, subject: Subject) -> Iterator[Remark]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("AOTI_DEVICE_KEY"), str):
        yield Remark("the record of the device can't be read", where)
        return
    device = found["AOTI_DEVICE_KEY"]
    if device not in subject.target.devices:
        yield Remark(f"compiled for device '{shown(device)}', target {subject.target.name} runs on "
                     f"{', '.join(subject.target.devices)}", where, "error")
    system = found.get("AOTI_PLATFORM")
    if isinstance(system, str) and system and system != platform.system().lower():
        yield Remark(f"compiled on {shown(system)}, this machine runs {platform.system().lower()}", where)
    wanted = found.get("AOTI_CPU_ISA")
    if isinstance(wanted, str) and device == "cpu":
        flags = _processor_flags()
        missing = [name for name in wanted.lower().split() if flags and name not in flags and f"{name}f" not in flags]
        if missing:
            yield Remark(f"uses instructions that this processor lacks: {shown(', '.join(missing))}", where)


def _here() -> str:
    machine = platform.machine().lower()
    return _ALIASES.get(machine, machine)


def _processor_flags() -> frozenset[str]:
    """Return the instruction sets of this processor, nothing where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), frozenset())


RULE = Rule(
    id="TRKX053",
    name="package-platform",
    title="a compiled package for another machine",
    severity="warning",
    kinds=("aoti",),
    reason=(
        "A .pt2 package holds machine code for one processor, device and release of libtorch. On another one it does not "
        "load, or stops at an illegal instruction."
    ),
    affected="AOTInductor, all versions",
    fix="Compile the package on the kind of machine that runs it.",
    link="https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html",
    check=check,
)
