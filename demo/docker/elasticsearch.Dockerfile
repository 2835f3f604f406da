# A real node, from the jars and classes that scripts/setup engines puts into .cache, for machines that reach no registry
# with the official image. Built in a folder with engines/ (demo/engines) and elasticsearch/ (.cache/engines/elasticsearch).
ARG BASE_IMAGE=debian:bookworm-slim
# The argument has the tag.
# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
# The release of Debian pins the version.
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -qq --yes --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=10001 --group=0 --mode=0770 /data
COPY elasticsearch /demo/.cache/engines/elasticsearch
COPY engines /demo/demo/engines
USER 10001:0
ENTRYPOINT ["/demo/demo/engines/run", "elasticsearch", "data=/data", "host=0.0.0.0", "port=9200", "transport.port=9300", "discovery.type=zen"]
