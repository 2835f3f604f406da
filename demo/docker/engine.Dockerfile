# A real node of Elasticsearch or OpenSearch, from the jars and classes that scripts/setup engines puts into .cache, for machines
# that reach no registry with the official image. It takes the same variables. Built in a folder with engines/ (demo/engines),
# engine/ (.cache/engines/NAME) and engine-entrypoint.
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
ARG ENGINE=elasticsearch
ENV ENGINE=${ENGINE}
COPY engine /demo/.cache/engines/${ENGINE}
COPY engines /demo/demo/engines
COPY --chmod=0755 engine-entrypoint /usr/local/bin/engine-entrypoint
EXPOSE 9200 9300
USER 10001:0
ENTRYPOINT ["engine-entrypoint"]
