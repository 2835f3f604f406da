# The demonstration's own nodes (demo/nodes), and the relay that stands for one of them. Built in the folder demo.
ARG BASE_IMAGE=debian:trixie-slim
# The argument has the tag.
# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
# The release of Debian pins the version.
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -qq --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /demo
COPY nodes nodes
COPY docker docker
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:0
ENTRYPOINT ["python3", "-m"]
