"""The C++ of runtime/cpp/README.md compiles against the library's headers, and stand-ins of the frameworks that it is for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support.cpp import SOURCE, require_compiler

TEXT = (SOURCE / "README.md").read_text("utf-8")
STAND_INS = Path(__file__).with_name("frameworks")


def snippet(heading: str) -> str:
    """Return the first C++ after a heading."""
    return re.search(rf"^#+ {heading}.*?```cpp\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL).group(1)


def compiled(text: str, folder: Path, framework: str = "") -> str:
    """Return what the compiler says of a text; what it includes of a framework is the stand-in."""
    for name in re.findall(r"#include [<\"]([\w/]+\.(?:hpp|h))", text):
        if not name.startswith("trkx/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f'#pragma once\n#include "{STAND_INS / framework}.hpp"\n')
    (folder / "snippet.cpp").write_text(text)
    words = ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Werror=conversion", "-I", SOURCE / "include", "-I", folder]
    done = subprocess.run([*map(str, words), folder / "snippet.cpp"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("framework", ["ACTS", "key4hep", "Athena"])
def test_algorithms_of_frameworks(framework: str, tmp_path: Path) -> None:
    require_compiler()
    text = snippet(framework)
    assert compiled(text, tmp_path, framework.lower()) == ""
    for right, wrong in (("Bundle::open(", "Bundle::opened("), (".track_id()", ".tracks()"), ("event.hit_id", "event.hits")):
        assert right in text and compiled(text.replace(right, wrong), tmp_path, framework.lower()), right


def test_the_library_s_own_example(tmp_path: Path) -> None:
    require_compiler()
    includes, _, body = snippet("In your own program").partition("\n\n")
    assert compiled(f"{includes}\nint main() {{\n{body}\n(void)track;\n}}\n", tmp_path) == ""
