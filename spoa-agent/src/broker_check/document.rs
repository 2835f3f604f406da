//! The findings for programs. The keys are documented in `spoa-agent/src/broker_check/README.md`.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::Findings;
use super::dial::{Dialed, Speaks};
use super::finding::{Verdict, hindrance};
use super::greeting::Login;
use super::seen::{Bootstrap, Cluster, Partition, Probe, Topic, TopicState, Trouble};

impl Findings {
    /// One JSON document with everything that was seen and found.
    #[must_use]
    pub fn document(&self) -> Value {
        let seen = &self.seen;
        let worst = self.all.iter().map(|one| one.verdict).max();
        let told = seen
            .bootstraps
            .iter()
            .find_map(|one| one.asked.as_ref()?.as_ref().ok());
        json!({
            "verdict": worst.unwrap_or(Verdict::Ok),
            "hindrance": hindrance(&self.all),
            "client": {
                "tls": seen.client.tls,
                "sasl_mechanism": seen.client.mechanism,
                "client_certificate": seen.client.has_certificate,
                "message_max_bytes": seen.client.message_max_bytes,
            },
            "cluster_id": told.and_then(|cluster| cluster.id.clone()),
            "bootstrap": seen.bootstraps.iter().map(bootstrap).collect::<Vec<_>>(),
            "advertised": seen.advertised.values().map(dialed).collect::<Vec<_>>(),
            "topic": seen.topic.as_ref().map(topic),
            "probe": seen.probe.as_ref().map(probe),
            "complete": seen.out_of_time.is_none(),
            "findings": self.all,
        })
    }
}

fn bootstrap(bootstrap: &Bootstrap) -> Value {
    let mut value = dialed(&bootstrap.dialed);
    let brokers = |cluster: &Cluster| -> Vec<Value> {
        let brokers = cluster.brokers.iter();
        brokers
            .map(|broker| json!({"id": broker.id, "advertised": broker.address}))
            .collect()
    };
    let (brokers, error) = match &bootstrap.asked {
        None => (None, None),
        Some(Ok(cluster)) => (Some(brokers(cluster)), None),
        Some(Err(Trouble::Login(said) | Trouble::Other(said))) => (None, Some(said)),
    };
    if let Some(object) = value.as_object_mut() {
        object.insert("brokers".to_owned(), json!(brokers));
        object.insert("error".to_owned(), json!(error));
    }
    value
}

fn dialed(dialed: &Dialed) -> Value {
    let (ips, unresolved) = match &dialed.resolved {
        Ok(ips) => (ips.as_slice(), None),
        Err(why) => (&[][..], Some(why)),
    };
    let reached = dialed.reached.as_ref();
    let refused = dialed
        .refused
        .iter()
        .map(|(ip, refusal)| json!({"address": ip, "why": format!("{refusal:?}")}));
    json!({
        "address": dialed.address,
        "addresses": ips.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
        "unresolved": unresolved,
        "refused": refused.collect::<Vec<_>>(),
        "reached": reached.map(|reached| reached.ip),
        "connect_ms": reached.map(|reached| milliseconds(reached.took)),
        "certificate": reached.and_then(|reached| reached.certificate.as_ref()),
        "speaks": reached.map(|reached| speaks(&reached.speaks)),
        "sasl_offered": reached.and_then(|reached| offered(&reached.speaks)),
    })
}

fn speaks(speaks: &Speaks) -> &'static str {
    match speaks {
        Speaks::Kafka(_) => "kafka",
        Speaks::Tls => "tls",
        Speaks::Plaintext(_) => "kafka_without_tls",
        Speaks::WantsCertificate(_) => "wants_client_certificate",
        Speaks::OurTls(_) | Speaks::BrokenTls(_) => "tls_failed",
        Speaks::Stranger(_) => "not_kafka",
    }
}

fn offered(speaks: &Speaks) -> Option<&[String]> {
    match speaks {
        Speaks::Kafka(Login::Sasl(offered)) | Speaks::Plaintext(Login::Sasl(offered)) => {
            Some(offered)
        }
        Speaks::Kafka(Login::None) | Speaks::Plaintext(Login::None) => Some(&[]),
        _unknown => None,
    }
}

fn topic(topic: &Topic) -> Value {
    let (state, partitions) = match &topic.state {
        TopicState::There(partitions) => ("there", partitions.as_slice()),
        TopicState::Missing => ("missing", &[][..]),
        TopicState::Denied => ("denied", &[][..]),
        TopicState::Other(_) => ("error", &[][..]),
    };
    let settings = topic
        .settings
        .as_ref()
        .and_then(|asked| asked.as_ref().ok());
    let setting = |name: &str| settings.and_then(|settings| settings.get(name));
    json!({
        "name": topic.name,
        "state": state,
        "partitions": partitions.iter().map(partition).collect::<Vec<_>>(),
        "max_message_bytes": setting("max.message.bytes"),
        "min_insync_replicas": setting("min.insync.replicas"),
        "cleanup_policy": setting("cleanup.policy"),
        "retention_ms": setting("retention.ms"),
        "retention_bytes": setting("retention.bytes"),
        "creatable": topic.creatable.as_ref().map(Result::is_ok),
    })
}

fn partition(partition: &Partition) -> Value {
    json!({
        "id": partition.id,
        "leader": partition.leader,
        "replicas": partition.replicas,
        "in_sync": partition.in_sync,
    })
}

fn probe(probe: &Probe) -> Value {
    let trips = probe.round_trips.iter().copied();
    json!({
        "sent": probe.sent,
        "read": probe.read.as_ref().and_then(|read| read.as_ref().ok()),
        "round_trips_ms": trips.map(milliseconds).collect::<Vec<_>>(),
        "refused": probe.refused.iter().map(|(partition, denial)| {
            json!({"partition": partition, "said": denial.said})
        }).collect::<Vec<_>>(),
    })
}

fn milliseconds(time: Duration) -> f64 {
    // To the microsecond.
    (time.as_secs_f64() * 1e6).round() / 1e3
}
