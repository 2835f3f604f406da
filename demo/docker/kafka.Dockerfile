# A real Kafka broker, from the jars that scripts/setup broker puts into .cache, for machines that reach no registry with apache/kafka.
# The variables, their defaults and the format of the data are that image's: the class that reads them is in the broker's jar.
# Built in a folder with lib/ (.cache/broker/lib), kafka-entrypoint and kafka-tool.
ARG BASE_IMAGE=debian:bookworm-slim
# The argument has the tag.
# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
# The release of Debian pins the version.
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -qq --yes --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/*
COPY lib /opt/kafka/libs
COPY --chmod=0755 kafka-entrypoint kafka-tool /opt/kafka/bin/
RUN ln -s kafka-tool /opt/kafka/bin/kafka-topics.sh \
    && ln -s kafka-tool /opt/kafka/bin/kafka-console-consumer.sh \
    && install --directory --owner=1000 --group=0 --mode=0770 /opt/kafka/config /mnt/shared/config /etc/kafka/docker \
    && printf '%s\n' process.roles=broker,controller node.id=1 controller.quorum.voters=1@localhost:9093 \
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093 advertised.listeners=PLAINTEXT://localhost:9092 \
        controller.listener.names=CONTROLLER offsets.topic.replication.factor=1 \
        transaction.state.log.replication.factor=1 transaction.state.log.min.isr=1 >/etc/kafka/docker/server.properties \
    && touch /etc/kafka/docker/log4j.properties /etc/kafka/docker/tools-log4j.properties
EXPOSE 9092
USER 1000:0
ENTRYPOINT ["/opt/kafka/bin/kafka-entrypoint"]
