"""Packaging: what `pyproject.toml` lists is what is there, a wheel holds nothing else, no module is loaded under two names."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {"src/trkx": "trkx", "models": "trkx.models", "runtime": "trkx.runtime", "export": "trkx.export"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SHIPPED = {".py", ".typed", ".safetensors", ".toml", ".md", ".json", ".parquet"}
LOAD_ALL = """
import importlib, json, pkgutil, sys, trkx
names = [m.name for m in pkgutil.walk_packages(trkx.__path__, "trkx.") if not m.name.endswith("__main__")]
for package, folder in json.loads(sys.argv[1]).items():
    names += [m.name for m in pkgutil.walk_packages([folder], package + ".") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(json.dumps({n: m.__file__ for n, m in list(sys.modules.items()) if getattr(m, "__file__", None)}))
"""


def source_files() -> dict[str, Path]:
    """Return every file that belongs to a package, by its path in a wheel."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_relative_to(ROOT / "runtime" / "cpp"):
                continue  # C++: built with CMake, no part of the wheel
            if path.is_file() and path.suffix in SHIPPED and "__pycache__" not in path.parts:
                found[f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}"] = path
    return found


def test_packages_are_the_folders_with_init() -> None:
    names = {path.rpartition("/")[0].replace("/", ".") for path in source_files() if path.endswith("/__init__.py")}
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(names) == sorted(listed)
    assert len(set(listed)) == len(listed)


def test_every_folder_with_modules_has_an_init() -> None:
    folders = {path.parent for path in source_files().values() if path.suffix == ".py"}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_a_wheel_holds_the_packages_and_nothing_else(tmp_path: Path) -> None:
    project = tmp_path / "project"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "models", "runtime", "export", "tests", "typings"):
        shutil.copytree(ROOT / name, project / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    pip = [sys.executable, "-m", "pip", "wheel", *options, str(project)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("trkx-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if not re.match(r"trkx-[\d.]+\.dist-info/", name)}
    assert held == set(source_files())


def test_no_module_is_loaded_twice() -> None:
    folders = {package: str(ROOT / folder) for folder, package in FOLDERS.items() if package != "trkx"}
    program = [sys.executable, "-c", LOAD_ALL, json.dumps(folders)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    files: dict[str, list[str]] = {}
    for name, file in json.loads(done.stdout.splitlines()[-1]).items():
        path = Path(file).resolve() if Path(file).is_absolute() else Path(sys.prefix)  # torch.ops says "_ops.py"
        if path.is_relative_to(ROOT) and not path.is_relative_to(Path(sys.prefix).resolve()):
            files.setdefault(str(path), []).append(name)
    modules = {path for path in source_files().values() if path.suffix == ".py" and path.name != "__main__.py"}
    assert {str(path.resolve()) for path in modules} <= set(files)
    assert {file: names for file, names in files.items() if len(names) > 1} == {}
    assert [names for names in files.values() if not names[0].startswith("trkx")] == []


def test_typings_link_to_every_module() -> None:
    links = {path.name: path for path in (ROOT / "typings" / "trkx").iterdir()}
    core = {path.name: path for path in (ROOT / "src" / "trkx").iterdir() if path.suffix in (".py", ".typed")}
    wanted = core | {name: ROOT / name for name in ("export", "models", "runtime")}
    assert sorted(links) == sorted(wanted)
    for name, link in links.items():
        assert link.is_symlink()
        assert not link.readlink().is_absolute()
        assert link.resolve() == wanted[name].resolve()


def test_no_path_of_a_machine_in_the_project() -> None:
    suffixes = {".py", ".md", ".toml", ".txt", ".json", ".cff", ".yml", ".sh", ""}
    skipped = {".git", "__pycache__", ".hypothesis", ".mypy_cache", ".ruff_cache"}
    made = {"out", "demo-out", "training", "build", "dist", "trkx.egg-info"}
    pattern = re.compile(r"""(?<![\w.:/])/(?:work|root|home|Users)/\w""")
    assert pattern.search('x = "/ro' + 'ot/data"')
    bad = []
    tops = [path for path in ROOT.iterdir() if path.name not in skipped | made and not path.name.startswith(".venv")]
    files = [path for top in tops for path in ([top] if top.is_file() else sorted(top.rglob("*")))]
    for path in files:
        if path.is_file() and not path.is_symlink() and path.suffix in suffixes and not skipped & set(path.parts):
            text = path.read_text("utf-8", errors="ignore")
            bad += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
    assert bad == []


def test_constraints_are_exact_and_cover_every_requirement() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)] == []
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    wanted += [name for extra, names in extras.items() if extra not in ("gpu", "tensorrt", "all") for name in names]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[ ;]", name)[0]).lower() for name in wanted}
    assert names - pinned == set()
