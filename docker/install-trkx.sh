#!/bin/sh
# Installs trkx into a fresh virtual environment, with the versions that constraints.txt names.
#
#     install-trkx.sh [--dry-run] PROJECT FOLDER EXTRAS [REQUIREMENT...]
#
# PROJECT: the clone; nothing is written there. FOLDER: the environment, which may not be there yet. EXTRAS: of pyproject.toml,
# separated by commas. REQUIREMENT: further packages. PYTHON names the interpreter (python3). PIP_* settings are respected.
# --dry-run: packages are resolved but not installed.
set -eu

dry=""
if [ "${1:-}" = --dry-run ]; then
    dry=--dry-run
    shift
fi
if [ $# -lt 3 ]; then
    echo "usage: $0 [--dry-run] PROJECT FOLDER EXTRAS [REQUIREMENT...]" >&2
    exit 2
fi
project=$1 folder=$2 extras=$3
shift 3
if [ ! -f "$project/constraints.txt" ]; then
    echo "$0: $project: expected a clone of trkx, found no constraints.txt" >&2
    exit 1
fi
if [ -e "$folder" ]; then
    echo "$0: $folder: is there already; name a folder that is not" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cat "$project/constraints.txt" > "$work/constraints.txt"
if [ -n "${MORE_CONSTRAINTS:-}" ]; then
    cat "$MORE_CONSTRAINTS" >> "$work/constraints.txt"
fi

"${PYTHON:-python3}" -m venv "$folder"
python=$folder/bin/python
"$python" -m pip install --quiet --upgrade --constraint "$work/constraints.txt" pip setuptools
mkdir "$work/project"
for part in pyproject.toml README.md LICENSE src export runtime models; do
    cp -R "$project/$part" "$work/project/"
done
"$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$work" "$work/project"
wheel=$(echo "$work"/trkx-*.whl)
"$python" -m pip install ${dry:+"$dry"} --constraint "$work/constraints.txt" "trkx[$extras] @ file://$wheel" "$@"
[ -z "$dry" ] || exit 0

"$python" -m pip check
"$folder/bin/trkx" --version
