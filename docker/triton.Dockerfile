# Triton Inference Server with trkx in its Python, for the model repositories of `export-models --target triton`.
#   docker build -f docker/triton.Dockerfile -t trkx-triton .
# What is used and how: docs/triton.md. Base image by digest: docker/pin.sh.
ARG BASE=nvcr.io/nvidia/tritonserver:25.10-py3

FROM ${BASE}
LABEL org.opencontainers.image.title="trkx-triton" \
      org.opencontainers.image.description="Hits to tracks behind Triton Inference Server's Python backend" \
      org.opencontainers.image.licenses="Apache-2.0"
ARG EXTRAS=cpu
COPY . /src
# Into the server's own Python, beside what it ships: the backend runs with that one.
RUN PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --no-cache-dir "/src[${EXTRAS}]" \
    && install -d -m 1777 /var/cache/trkx
ENV NUMBA_CACHE_DIR=/var/cache/trkx/numba TRITON_CACHE_DIR=/var/cache/trkx/triton XDG_CACHE_HOME=/var/cache/trkx
USER 1000
HEALTHCHECK --interval=1m --timeout=10s --start-period=2m CMD ["curl", "--fail", "--silent", "localhost:8000/v2/health/ready"]
