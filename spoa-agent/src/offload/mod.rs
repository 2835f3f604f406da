//! The offload: what is captured, to Kafka.
//!
//! [`client`] makes a client of Kafka from the configuration, with all of its security; producers, consumers and
//! checks are made from it.

pub mod client;
