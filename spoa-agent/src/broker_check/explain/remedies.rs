//! The lines to put into a broker's settings.

use crate::broker_check::address::Address;
use crate::broker_check::finding::Remedy;
use crate::broker_check::seen::ClientFacts;

/// What the client's protocol is called by brokers.
pub(super) fn protocol(client: &ClientFacts) -> &'static str {
    match (client.tls, client.mechanism.is_some()) {
        (false, false) => "PLAINTEXT",
        (true, false) => "SSL",
        (false, true) => "SASL_PLAINTEXT",
        (true, true) => "SASL_SSL",
    }
}

/// A broker in a container: one listener for its network, one for everybody else.
pub(super) fn docker(client: &ClientFacts, inside: &str, outside: &Address) -> Remedy {
    let protocol = protocol(client);
    Remedy {
        case: format!(
            "in Docker, in the environment of the container, with the port published as {port}:{port}, beside what is there for \
             the controller",
            port = outside.port
        ),
        lines: vec![
            format!(
                "KAFKA_LISTENERS: INSIDE://:{INSIDE_PORT},OUTSIDE://:{}",
                outside.port
            ),
            format!(
                "KAFKA_ADVERTISED_LISTENERS: INSIDE://{inside}:{INSIDE_PORT},OUTSIDE://{outside}"
            ),
            format!("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: INSIDE:PLAINTEXT,OUTSIDE:{protocol}"),
            "KAFKA_INTER_BROKER_LISTENER_NAME: INSIDE".to_owned(),
        ],
    }
}

/// A broker whose address outside is known inside too.
pub(super) fn one_name(client: &ClientFacts, outside: &Address) -> Remedy {
    let protocol = protocol(client);
    Remedy {
        case: format!(
            "if the brokers too can reach {outside} under that name: one listener, in server.properties"
        ),
        lines: vec![
            format!("listeners={protocol}://:{}", outside.port),
            format!("advertised.listeners={protocol}://{outside}"),
        ],
    }
}

/// A broker in a network of its own, with clients in another.
pub(super) fn two_networks(client: &ClientFacts, inside: &str, outside: &Address) -> Remedy {
    let protocol = protocol(client);
    Remedy {
        case: "if brokers and clients see each other under different addresses (a cloud, two networks): two listeners, in \
               server.properties of each broker, each with its own addresses, beside those of the controller"
            .to_owned(),
        lines: vec![
            format!("listeners=INSIDE://:{INSIDE_PORT},OUTSIDE://:{}", outside.port),
            format!("advertised.listeners=INSIDE://{inside}:{INSIDE_PORT},OUTSIDE://{outside}"),
            format!("listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:{protocol}"),
            "inter.broker.listener.name=INSIDE".to_owned(),
        ],
    }
}

/// A mechanism beside those that are offered.
pub(super) fn mechanism(offered: &[String], wanted: &str) -> Remedy {
    let all: Vec<&str> = offered.iter().map(String::as_str).chain([wanted]).collect();
    Remedy {
        case: "in server.properties, with the name of the listener in small letters".to_owned(),
        lines: vec![format!(
            "listener.name.<listener>.sasl.enabled.mechanisms={}",
            all.join(",")
        )],
    }
}

/// A user for SCRAM.
pub(super) fn scram_user(mechanism: &str) -> Remedy {
    Remedy {
        case: "to set the password of a user anew, as an administrator".to_owned(),
        lines: vec![format!(
            "kafka-configs.sh --bootstrap-server ... --alter --entity-type users --entity-name <user> --add-config \
             '{mechanism}=[password=<password>]'"
        )],
    }
}

/// A setting of the topic.
pub(super) fn topic_setting(topic: &str, setting: &str, value: impl std::fmt::Display) -> Remedy {
    Remedy {
        case: "as an administrator".to_owned(),
        lines: vec![format!(
            "kafka-configs.sh --bootstrap-server ... --alter --entity-type topics --entity-name {topic} --add-config {setting}={value}"
        )],
    }
}

/// A right in the topic.
pub(super) fn topic_right(topic: &str, operations: &[&str]) -> Remedy {
    let operations: String = operations
        .iter()
        .map(|one| format!(" --operation {one}"))
        .collect();
    Remedy {
        case: "as an administrator".to_owned(),
        lines: vec![format!(
            "kafka-acls.sh --bootstrap-server ... --add --allow-principal User:<user>{operations} --topic {topic}"
        )],
    }
}

/// Listeners of brokers among themselves, where a number must be shown.
const INSIDE_PORT: u16 = 19092;
