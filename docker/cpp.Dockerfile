# trkx-run, the C++ consumer of bundles: ONNX Runtime and nothing else; neither Python nor torch in the image.
#   docker build -f docker/cpp.Dockerfile -t trkx-cpp .
# What is used and how: docs/docker.md. Base image by digest: docker/pin.sh.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates cmake debian-archive-keyring g++ make python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN /src/docker/install-cpp.sh /src /opt/trkx

FROM ${BASE}
LABEL org.opencontainers.image.title="trkx-cpp" \
      org.opencontainers.image.description="From hits to tracks in C++, with ONNX Runtime alone" \
      org.opencontainers.image.licenses="Apache-2.0"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home trkx
COPY --from=build /opt/trkx /opt/trkx
ENV PATH="/opt/trkx/bin:${PATH}"
USER 1000
WORKDIR /data
HEALTHCHECK --interval=5m --timeout=30s CMD ["trkx-run", "--help"]
ENTRYPOINT ["trkx-run"]
CMD ["--help"]
