# trkx on NVIDIA GPUs: CUDA 13 runtime, torch, Triton's kernels, ONNX Runtime for CUDA. Needs driver 580 or newer on the host.
#   docker build -f docker/gpu.Dockerfile -t trkx-gpu .
# --build-arg WITH_TENSORRT=1, WITH_CUGRAPH=1 for more engines. What is used and how: docs/docker.md. Base image by digest: docker/pin.sh.
ARG BASE=nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04

FROM ${BASE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ARG EXTRAS=gpu,cuda,plot
ARG WITH_TENSORRT=0
ARG WITH_CUGRAPH=0
# TensorRT and cuGraph are there only; what PyPI has of them points there.
ARG NVIDIA_INDEX=https://pypi.nvidia.com
COPY . /src
RUN --mount=type=cache,target=/root/.cache/pip PIP_EXTRA_INDEX_URL="${NVIDIA_INDEX}" /src/docker/install-gpu.sh /src /opt/trkx

FROM ${BASE}
LABEL org.opencontainers.image.title="trkx-gpu" \
      org.opencontainers.image.description="From trained tracking networks to verified model files, and from hits to tracks; for NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0"
# Triton compiles the launchers of its kernels with a C compiler against Python's headers, when a kernel is first used.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-dev gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -m 1777 /var/cache/trkx
COPY --from=build /opt/trkx /opt/trkx
ENV PATH="/opt/trkx/bin:${PATH}" NUMBA_CACHE_DIR=/var/cache/trkx/numba TRITON_CACHE_DIR=/var/cache/trkx/triton XDG_CACHE_HOME=/var/cache/trkx
# This base has a user 1000 already (ubuntu).
USER 1000
WORKDIR /data
HEALTHCHECK --interval=5m --timeout=60s CMD ["trkx", "doctor"]
ENTRYPOINT ["trkx"]
CMD ["--help"]
