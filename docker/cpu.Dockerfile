# trkx on CPUs: runs bundles without torch; with --build-arg EXTRAS=cpu,plot,export it makes them too.
#   docker build -f docker/cpu.Dockerfile -t trkx .
# What is used and how: docs/docker.md. Base image by digest: docker/pin.sh.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG EXTRAS=cpu,plot
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY . /src
RUN --mount=type=cache,target=/root/.cache/pip PIP_EXTRA_INDEX_URL="${TORCH_INDEX}" /src/docker/install-cpu.sh /src /opt/trkx

FROM ${BASE}
LABEL org.opencontainers.image.title="trkx" \
      org.opencontainers.image.description="From trained tracking networks to verified model files, and from hits to tracks; for CPUs" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/trkx /opt/trkx
# Kernels are compiled on first use; any user may keep them there.
RUN useradd --uid 1000 --create-home trkx && install -d -m 1777 /var/cache/trkx
ENV PATH="/opt/trkx/bin:${PATH}" NUMBA_CACHE_DIR=/var/cache/trkx
USER 1000
WORKDIR /data
HEALTHCHECK --interval=5m --timeout=30s CMD ["trkx", "--version"]
ENTRYPOINT ["trkx"]
CMD ["--help"]
