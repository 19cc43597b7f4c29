#!/bin/sh
# What docker/cpp.Dockerfile installs: the C++ program trkx-run and its libraries, with ONNX Runtime and without libtorch.
#
#     install-cpp.sh PROJECT PREFIX
#
# PREFIX/bin/trkx-run finds PREFIX/lib/libonnxruntime.so.1 wherever PREFIX is moved. Needs cmake, make, g++, and what
# runtime/cpp/get-onnxruntime.sh needs. ONNXRUNTIME_ROOT: an ONNX Runtime that is there (include/, lib/), used instead of fetching one.
# JOBS: compilers at once, one per core if not given.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 PROJECT PREFIX" >&2
    exit 2
fi
project=$1 prefix=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

onnxruntime=${ONNXRUNTIME_ROOT:-}
if [ -z "$onnxruntime" ]; then
    onnxruntime=$work/onnxruntime
    "$project/runtime/cpp/get-onnxruntime.sh" "$onnxruntime" "$(sed -n 's/^onnxruntime==//p' "$project/constraints.txt")"
fi
# shellcheck disable=SC2016 # $ORIGIN is the loader's, not the shell's
cmake -S "$project/runtime/cpp" -B "$work/build" -DONNXRUNTIME_ROOT="$onnxruntime" -DTRKX_ONNXRUNTIME=ON -DTRKX_TORCH=OFF \
    -DTRKX_TESTS=OFF -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_INSTALL_RPATH='$ORIGIN/../lib'
cmake --build "$work/build" --parallel "${JOBS:-$(nproc)}"
cmake --install "$work/build" --strip
cp -P "$onnxruntime"/lib/libonnxruntime.so* "$prefix/lib/"
"$prefix/bin/trkx-run" --help > /dev/null
echo "$prefix/bin/trkx-run"
