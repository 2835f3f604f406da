//! Exchanges from Kafka.
