"""Machine code of kernels is kept on disk, and not used any more once a source that it was made of has changed."""

import ast
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from trkx.runtime import jit

KERNEL = """
{how}
from kernels.other import FACTOR, added


@compiled
def scaled(value):
    return FACTOR * added(value)
"""
OTHER = """
{how}
FACTOR = {factor}


@compiled
def added(value):
    return value + {term}
"""
OURS = "from jit import compiled"
PLAIN = "import numba\ncompiled = numba.njit(cache=True)"
CALL = """
import json
from kernels.kernel import scaled
value = scaled(10)
print(json.dumps([value, sum(scaled.stats.cache_hits.values()), sum(scaled.stats.cache_misses.values())]))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").touch()
    shutil.copy(jit.__file__, tmp_path / "jit.py")
    return tmp_path


def write(folder, how, factor=2, term=0):
    (folder / "kernels" / "kernel.py").write_text(KERNEL.format(how=how))
    other = folder / "kernels" / "other.py"
    other.write_text(OTHER.format(how=how, factor=factor, term=term))
    os.utime(other, (1e9, 1e9))  # an edit that keeps time and size must be seen as well


def call(folder, **variables):
    """Return what the kernel gives in a process of its own, and how often its code came from the cache and did not."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", **variables}
    done = subprocess.run([sys.executable, "-c", CALL], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_an_edit_of_another_module_is_seen_by_the_next_process(folder):
    write(folder, OURS)
    assert call(folder) == [20, 0, 1]
    assert call(folder) == [20, 1, 0]
    write(folder, OURS, factor=3)
    assert call(folder) == [30, 0, 1]
    write(folder, OURS, factor=3, term=1)
    assert call(folder) == [33, 0, 1]
    assert call(folder) == [33, 1, 0]


def test_so_is_one_of_the_options_of_compiling(folder):
    write(folder, OURS)
    call(folder)
    with (folder / "jit.py").open("a") as file:
        file.write("\n# edited\n")
    assert call(folder) == [20, 0, 1]


def test_in_a_cache_folder_that_the_user_chose_too(folder, tmp_path):
    write(folder, OURS)
    place = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert [call(folder, **place)[0], call(folder, **place)] == [20, [20, 1, 0]]
    write(folder, OURS, factor=3)
    assert call(folder, **place)[0] == 30


def test_numba_alone_runs_stale_code(folder):
    write(folder, PLAIN)
    call(folder)
    write(folder, PLAIN, factor=3)
    assert call(folder)[0] == 20  # if it gives 30, Numba looks at other modules itself, and trkx.runtime.jit need not


def test_without_compiling(folder):
    write(folder, OURS)
    code = "from kernels.kernel import scaled; assert scaled(10) == 20; assert not hasattr(scaled, 'stats')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, check=True)


def test_files_that_are_not_there_are_no_modules(folder):
    (folder / "kernels" / ".#kernel.py").symlink_to("nowhere")  # as an editor leaves it beside an open file
    assert len(jit.sources(folder / "kernels")) == 32


def kernels():
    """Yield every kernel of trkx.runtime, and its module."""
    root = Path(jit.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if "trkx.runtime.jit import compiled" in path.read_text(encoding="utf-8"):
            module = importlib.import_module(".".join(["trkx.runtime", *path.relative_to(root).with_suffix("").parts]))
            for value in vars(module).values():
                if isinstance(value, numba.core.registry.CPUDispatcher) and value.__module__ == module.__name__:
                    yield value, module


def from_other_folders(function, module):
    """Return the names that a kernel uses and that its module imports from trkx, but not from its own folder."""
    own = module.__name__.rpartition(".")[0]
    imported = {
        name.asname or name.name: node.module or ""
        for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom) for name in node.names
    }
    return [name for name in function.__code__.co_names
            if imported.get(name, "").startswith("trkx") and imported[name].rpartition(".")[0] != own]


def test_kernels_use_nothing_of_other_folders():
    found = {f"{module.__name__}.{kernel.__name__}": from_other_folders(kernel.py_func, module) for kernel, module in kernels()}
    assert len(found) > 20
    assert {name: names for name, names in found.items() if names} == {}


def test_that_check_can_fail():
    from trkx.runtime.labelling import union_find

    def bad(ends):
        return outside(ends)  # noqa: F821 - a name of trkx.runtime.indices, as in that module

    assert from_other_folders(bad, union_find) == ["outside"]
