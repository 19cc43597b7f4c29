#!/bin/sh
# ONNX Runtime for C++ where nothing but its Python wheel can be had: headers from Debian 13's package, library from the wheel.
#
#     get-onnxruntime.sh DEST [VERSION]                 the wheel comes through pip (PYTHON names the interpreter: python3)
#     get-onnxruntime.sh DEST --wheel-of PYTHON         the wheel that is installed for this interpreter
#
# Gives DEST/include and DEST/lib, as the official archive has them: cmake -DONNXRUNTIME_ROOT=DEST. No root is needed and nothing
# outside DEST is changed. The C interface is versioned: headers may be older than the library, never newer. Needs apt and dpkg.
set -eu

usage() {
    echo "usage: $0 DEST [VERSION | --wheel-of PYTHON]" >&2
    exit 2
}

fail() {
    echo "get-onnxruntime: $*" >&2
    exit 1
}

dest="" version="" installed=""
while [ $# -gt 0 ]; do
    case "$1" in
        --wheel-of) [ $# -ge 2 ] || usage; installed=$2; shift ;;
        -*) usage ;;
        *) if [ -z "$dest" ]; then dest=$1; elif [ -z "$version" ]; then version=$1; else usage; fi ;;
    esac
    shift
done
[ -n "$dest" ] || usage
[ -z "$version" ] || [ -z "$installed" ] || usage
for tool in apt-get dpkg-deb; do
    command -v "$tool" > /dev/null || fail "needs $tool. Elsewhere unpack the official archive and give it as ONNXRUNTIME_ROOT."
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "expected $keyring, found none: apt-get install debian-archive-keyring"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# Where this machine gets Debian from, by apt's own word; Debian's own address where apt names none. What others sign is told apart by
# the origin that lists state, or before any list is there by the address.
archive() {
    # shellcheck disable=SC2016 # these names are apt's, not the shell's
    apt-get indextargets --format '$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(REPO_URI)' 'Created-By: Packages' 2> /dev/null |
        awk -F'|' '$1 !~ /[-\/]/ && $2 == "main" && ($3 == "Debian" || $4 ~ /\/debian\/$/) { print $4; exit }'
}
uri=$(archive)
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/sources" "$work/unpacked"
: > "$work/status"
cat > "$work/sources/trixie.sources" << END
Types: deb
URIs: ${uri:-http://deb.debian.org/debian}
Suites: trixie
Components: main
Signed-By: $keyring
END

# The machine's apt settings (proxies, credentials) hold; sources, lists and state are our own.
private_apt() {
    apt-get -q -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources" -o Dir::Etc::Preferences=/dev/null \
        -o Dir::Etc::PreferencesParts=/dev/null -o Dir::State::Lists="$work/lists" -o Dir::State::Status="$work/status" \
        -o Dir::Cache="$work/cache" -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none "$@" > "$work/log" 2>&1 ||
        { cat "$work/log" >&2; fail "apt could not do: $*. Is Debian's archive reachable?"; }
}
private_apt update
(cd "$work" && private_apt download libonnxruntime-dev)
dpkg-deb -x "$work"/libonnxruntime-dev_*.deb "$work/unpacked"

if [ -n "$installed" ]; then
    folder=$("$installed" -c 'import importlib.util as u; s = u.find_spec("onnxruntime"); print(s.submodule_search_locations[0] if s else "")')
    [ -n "$folder" ] || fail "$installed has no onnxruntime: $installed -m pip install onnxruntime"
else
    python=${PYTHON:-python3}
    "$python" -m pip download --quiet --no-deps --only-binary :all: --dest "$work/wheel" "onnxruntime${version:+==$version}" ||
        fail "pip could not download onnxruntime${version:+ $version}; name an interpreter with pip as PYTHON, or use --wheel-of"
    "$python" -m zipfile -e "$work"/wheel/onnxruntime-*.whl "$work/wheel/unpacked"
    folder=$work/wheel/unpacked/onnxruntime
fi

library=$(find "$folder/capi" -name 'libonnxruntime.so.*' -type f | sort | tail -n 1)
[ -n "$library" ] || fail "$folder/capi: expected libonnxruntime.so.*, found none: this wheel holds no shared library"
header=$(find "$work/unpacked" -name onnxruntime_cxx_api.h | head -n 1)
[ -n "$header" ] || fail "libonnxruntime-dev: expected onnxruntime_cxx_api.h, found none"

rm -rf "${dest:?}/include" "${dest:?}/lib"
mkdir -p "$dest/lib"
cp -r "$(dirname "$header")" "$dest/include"
cp "$library" "$dest/lib/"
name=$(basename "$library")
ln -s "$name" "$dest/lib/libonnxruntime.so.1"
ln -s libonnxruntime.so.1 "$dest/lib/libonnxruntime.so"
chmod -R u+w "$dest/include" "$dest/lib"
echo "$dest: headers of $(dpkg-deb -f "$work"/libonnxruntime-dev_*.deb Version), library ${name#libonnxruntime.so.}"
