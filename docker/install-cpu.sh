#!/bin/sh
# What docker/cpu.Dockerfile installs: trkx for CPUs. EXTRAS: cpu,plot to run bundles; with export, to make them too (brings torch).
#
#     install-cpu.sh [--dry-run] PROJECT FOLDER        see install-trkx.sh
set -eu
exec "$(dirname "$0")/install-trkx.sh" "$@" "${EXTRAS:-cpu,plot}"
