#!/bin/sh
# Prints the arguments that pin the base images of a Dockerfile to what their tags mean today.
#
#     pins=$(docker/pin.sh docker/cpu.Dockerfile) && docker build -f docker/cpu.Dockerfile $pins -t trkx .
#
# Each line is --build-arg NAME=IMAGE@sha256:…, of the index that covers all architectures. Needs docker with buildx, and the registry.
set -eu
if [ $# -ne 1 ] || [ ! -f "$1" ]; then
    echo "usage: $0 DOCKERFILE" >&2
    exit 2
fi
images=$(sed -n 's/^ARG \(BASE[A-Z_]*\)=\([^@ ]*\)$/\1 \2/p' "$1")
if [ -z "$images" ]; then
    echo "$0: $1: expected lines ARG BASE=IMAGE:TAG, found none" >&2
    exit 1
fi
if ! docker buildx version > /dev/null 2>&1; then
    echo "$0: needs docker with its plugin buildx (Debian: docker-buildx; Docker's own packages: docker-buildx-plugin), found none" >&2
    exit 1
fi
echo "$images" | while read -r name image; do
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
    case $digest in
        sha256:*) echo "--build-arg $name=$image@$digest" ;;
        *)
            echo "$0: $image: expected sha256:…, found '$digest'; is the registry reachable?" >&2
            exit 1
            ;;
    esac
done
