"""Images: Dockerfiles keep the rules, copy what is there, and run scripts that are run here too, without a container."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(path.name for path in DOCKER.glob("*.Dockerfile"))
SCRIPTS = sorted(
    str(path.relative_to(ROOT)) for folder in ("docker", "runtime", "src", "export", "models", "benchmarks", "tests", ".ci")
    for path in (ROOT / folder).rglob("*") if path.suffix == ".sh" or path == ROOT / ".ci" / "run"
)
ONE_STAGE = {"triton.Dockerfile"}  # adds to an image instead of making one
CPU = (DOCKER / "cpu.Dockerfile").read_text("utf-8")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile: name in upper case, and the rest with continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name.upper(), rest.strip()) for name, _, rest in (line.strip().partition(" ") for line in joined.splitlines())]


def problems(text: str, stages: int = 2) -> list[str]:
    """Return what is wrong with a Dockerfile by the rules of this project."""
    steps = instructions(text)
    bad = []
    base = next((rest for name, rest in steps if name == "ARG"), "")
    if steps[0] != ("ARG", base) or not re.fullmatch(r"BASE=[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})", base) or ":latest" in base:
        bad.append("the base image is not an argument with a tag or a digest")
    froms = [rest.split()[0] for name, rest in steps if name == "FROM"]
    if froms != ["${BASE}"] * stages:
        bad.append(f"expected {stages} stages from BASE, found {froms}")
    last = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    final = steps[last:]
    said = dict(final)
    users = [number for number, (name, _) in enumerate(final) if name == "USER"]
    if not users or not said["USER"].isdecimal() or int(said["USER"]) == 0:
        bad.append("the user is root, or has no number")
    elif any(name in ("RUN", "COPY", "ADD") for name, _ in final[users[-1] :]):
        bad.append("something is written after USER")
    if not re.search(r"CMD (\[.*\])$", said.get("HEALTHCHECK", "")):
        bad.append("no health check in exec form")
    labels = re.findall(r"org\.opencontainers\.image\.(\w+)=", said.get("LABEL", ""))
    bad += [f"no label {name}" for name in ("title", "description", "licenses") if name not in labels]
    for name, rest in steps:
        if name == "ADD" or (name == "RUN" and re.search(r"\b(curl|wget) ", rest)):
            bad.append("fetches something that nothing verifies")
        scripts = re.findall(r"/src/(docker/[\w.-]+)", rest)
        bad += [f"{script} is not there, or may not be executed" for script in scripts if not os.access(ROOT / script, os.X_OK)]
        if name in ("ENTRYPOINT", "CMD"):
            json.loads(rest)
    return bad


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles_keep_the_rules(name: str) -> None:
    assert problems((DOCKER / name).read_text("utf-8"), 1 if name in ONE_STAGE else 2) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("ARG BASE=python:3.11-slim-bookworm", "ARG BASE=python", "not an argument with a tag"),
        ("ARG BASE=python:3.11-slim-bookworm", "ARG BASE=python:latest", "not an argument with a tag"),
        ("FROM ${BASE}\n", "FROM python:3.11\n", "expected 2 stages"),
        ("FROM ${BASE} AS build\n", "", "expected 2 stages"),
        ("USER 1000\n", "", "the user is root"),
        ("USER 1000", "USER root", "the user is root"),
        ("USER 1000", "USER 0", "the user is root"),
        ("WORKDIR /data", "RUN true", "written after USER"),
        ("HEALTHCHECK --interval=5m --timeout=30s CMD [\"trkx\", \"--version\"]\n", "", "no health check"),
        ("org.opencontainers.image.licenses", "licence", "no label licenses"),
        ("install-cpu.sh", "install-gone.sh", "docker/install-gone.sh is not there"),
        ("COPY . /src", "ADD https://example.org/trkx.tar /src", "nothing verifies"),
    ],
)
def test_the_rules_find(old: str, new: str, problem: str) -> None:
    assert old in CPU
    found = problems(CPU.replace(old, new))
    assert any(problem in one for one in found), found


def test_every_dockerfile_and_every_argument_is_documented() -> None:
    text = (ROOT / "docs" / "docker.md").read_text("utf-8")
    for name in DOCKERFILES:
        assert f"docker/{name}" in text
        for step, rest in instructions((DOCKER / name).read_text("utf-8")):
            assert step != "ARG" or f"`{rest.split('=')[0]}`" in text, (name, rest)
    for path in re.findall(r"docker/[\w-]+\.\w+", text):
        assert (ROOT / path).is_file(), path
    steps = [step for name in DOCKERFILES for step in instructions((DOCKER / name).read_text("utf-8"))]
    known = {rest.split("=")[0] for name, rest in steps if name == "ARG"}
    assert set(re.findall(r"--build-arg (\w+)=", text)) <= known


def test_the_context_holds_what_is_installed_and_little_else() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    script = (DOCKER / "install-trkx.sh").read_text("utf-8")
    copied = set(re.search(r"for part in (.*); do", script).group(1).split())
    assert allowed == copied | {"constraints.txt", "docker"}
    assert all((ROOT / name).exists() for name in allowed)


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"not checked: {name} is not installed (dependency group dev)")
    return found


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint(name: str) -> None:
    done = subprocess.run([tool("hadolint"), "--no-color", DOCKER / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_hadolint_finds(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN apt-get update && apt-get install cmake\n", "utf-8")
    done = subprocess.run([tool("hadolint"), "--no-color", bad], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "DL3006" in done.stdout


def test_shellcheck() -> None:
    assert {"docker/install-cpu.sh", "docker/pin.sh", ".ci/run"} <= set(SCRIPTS)
    done = subprocess.run([tool("shellcheck"), *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def run(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "EXTRAS")}
    environment = {**clean, "PYTHON": sys.executable, **variables}
    return subprocess.run([str(word) for word in words], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("script", "words", "code", "message"),
    [
        ("install-cpu.sh", (), 2, "usage"),
        ("install-gpu.sh", ("--dry-run", "PROJECT"), 2, "usage"),
        ("install-cpp.sh", ("PROJECT",), 2, "usage"),
        ("install-cpu.sh", ("TEMPORARY", "TEMPORARY/venv"), 1, "expected a clone of trkx, found no constraints.txt"),
        ("install-cpu.sh", ("PROJECT", "TEMPORARY"), 1, "is there already"),
        ("pin.sh", (), 2, "usage"),
        ("pin.sh", ("PROJECT/README.md",), 1, "expected lines ARG BASE=IMAGE:TAG, found none"),
    ],
)
def test_scripts_refuse(script: str, words: tuple[str, ...], code: int, message: str, tmp_path: Path) -> None:
    given = [word.replace("PROJECT", str(ROOT)).replace("TEMPORARY", str(tmp_path)) for word in words]
    done = run(DOCKER / script, *given)
    assert done.returncode == code and message in done.stderr, done
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("answer", "code"), [("sha256:" + "ab" * 32, 0), ("nothing", 1)])
def test_pin_prints_digests(answer: str, code: int, tmp_path: Path) -> None:
    stand_in = tmp_path / "docker"
    script = f'case "$*" in "buildx version") ;; "buildx imagetools inspect "*) echo {answer} ;; *) exit 1 ;; esac'
    stand_in.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    stand_in.chmod(0o755)
    done = run(DOCKER / "pin.sh", DOCKER / "cpu.Dockerfile", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == code
    if code == 0:
        assert done.stdout == f"--build-arg BASE=python:3.11-slim-bookworm@{answer}\n"
    else:
        assert "expected sha256:…, found 'nothing'" in done.stderr


def test_pin_says_that_it_needs_buildx(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n", "utf-8")
    (tmp_path / "docker").chmod(0o755)
    done = run(DOCKER / "pin.sh", DOCKER / "cpu.Dockerfile", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (1, "") and "needs docker with its plugin buildx" in done.stderr


def left_by_builds() -> set[str]:
    return {path.name for path in ROOT.iterdir() if path.name in ("build", "dist") or path.suffix == ".egg-info"}


def test_the_cpu_image_s_environment(tmp_path: Path) -> None:
    """A fresh environment, as the image has it but for plots; nothing is written into the project."""
    before = left_by_builds()
    done = run(DOCKER / "install-cpu.sh", ROOT, tmp_path / "trkx", EXTRAS="cpu", PIP_NO_COMPILE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No broken requirements found." in done.stdout
    assert left_by_builds() == before
    program = "import importlib.util as u, json, trkx; names = ('torch', 'onnx', 'matplotlib')\n"
    program += "print(json.dumps([trkx.__file__, [name for name in names if u.find_spec(name)]]))"
    asked = run(tmp_path / "trkx" / "bin" / "python", "-I", "-c", program)
    place, heavy = json.loads(asked.stdout)
    assert Path(place).is_relative_to(tmp_path) and heavy == []
    doctor = run(tmp_path / "trkx" / "bin" / "trkx", "doctor", "--json")
    rows = {f"{row['kind']} {row['name']}": row["available"] for row in json.loads(doctor.stdout)["backends"]}
    assert rows["engine tiled"] and rows["engine onnxruntime"] and not rows["engine torchscript"]


def test_the_gpu_image_s_packages_go_together(tmp_path: Path) -> None:
    done = run(DOCKER / "install-gpu.sh", "--dry-run", ROOT, tmp_path / "trkx", EXTRAS="gpu,cuda")
    assert done.returncode == 0, done.stdout + done.stderr
    would = done.stdout[done.stdout.index("Would install") :]
    wanted = (DOCKER / "gpu-constraints.txt").read_text("utf-8").splitlines()[1:]
    assert all(f" {line.replace('==', '-')} " in would for line in wanted)
    assert " trkx-" in would and " torch-" in would and " onnxruntime-1" not in would
    assert not (tmp_path / "trkx" / "bin" / "trkx").exists()


@pytest.mark.slow
def test_the_cpp_image_s_program(tmp_path: Path) -> None:
    done = run(DOCKER / "install-cpp.sh", ROOT, tmp_path / "made")
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.move(tmp_path / "made", tmp_path / "moved")
    program = tmp_path / "moved" / "bin" / "trkx-run"
    assert "BUNDLE" in run(program, "--help").stdout
    linked = run("ldd", program).stdout
    assert f"{tmp_path}/moved/" in linked and "libtorch" not in linked and "python" not in linked
