#!/bin/sh
# What docker/gpu.Dockerfile installs: trkx for NVIDIA GPUs, with torch, Triton's kernels and ONNX Runtime for CUDA 13.
#
#     install-gpu.sh [--dry-run] PROJECT FOLDER        see install-trkx.sh
#
# WITH_TENSORRT=1: TensorRT and Polygraphy too. WITH_CUGRAPH=1: cuGraph, cuDF and CuPy too. EXTRAS replaces the extras.
set -eu
here=$(dirname "$0")
extras=${EXTRAS:-gpu,cuda,plot}
if [ "${WITH_TENSORRT:-0}" = 1 ]; then
    extras=$extras,tensorrt
fi
set -- "$@" "$extras"
if [ "${WITH_CUGRAPH:-0}" = 1 ]; then
    set -- "$@" cugraph-cu13 cudf-cu13 cupy-cuda13x
fi
MORE_CONSTRAINTS=$here/gpu-constraints.txt
export MORE_CONSTRAINTS
exec "$here/install-trkx.sh" "$@"
