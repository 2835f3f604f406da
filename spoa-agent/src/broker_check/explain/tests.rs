//! Each observation has one explanation, with the lines that put it right.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::explain;
use crate::broker_check::address::Address;
use crate::broker_check::dial::{Dialed, Reached, Refusal, Speaks};
use crate::broker_check::finding::{Finding, Hindrance, Step, Verdict, hindrance};
use crate::broker_check::greeting::{Login, Stranger};
use crate::broker_check::seen::{
    Bootstrap, Broker, ClientFacts, Cluster, Denial, Observations, Partition, Probe, Topic,
    TopicState, Trouble,
};
use crate::broker_check::tls::{Certificate, Distrust};

// ---------------------------------------------------------------------------------------------
// What is seen

/// Resolved, connected, and greeted.
fn there(address: &str, ip: &str, speaks: Speaks) -> Dialed {
    Dialed {
        address: address.parse().unwrap(),
        resolved: Ok(vec![ip.parse().unwrap()]),
        refused: Vec::new(),
        reached: Some(Reached {
            ip: ip.parse().unwrap(),
            took: Duration::from_millis(1),
            certificate: None,
            speaks,
        }),
    }
}

fn broker_at(address: &str, ip: &str) -> Dialed {
    there(address, ip, Speaks::Kafka(Login::None))
}

fn refused(address: &str, ip: &str, why: Refusal) -> Dialed {
    let ip: IpAddr = ip.parse().unwrap();
    Dialed {
        address: address.parse().unwrap(),
        resolved: Ok(vec![ip]),
        refused: vec![(ip, why)],
        reached: None,
    }
}

fn unresolved(address: &str) -> Dialed {
    Dialed {
        address: address.parse().unwrap(),
        resolved: Err("Name or service not known".to_owned()),
        refused: Vec::new(),
        reached: None,
    }
}

fn certified(mut dialed: Dialed, days_left: i32, distrust: Option<Distrust>) -> Dialed {
    dialed.reached.as_mut().unwrap().certificate = Some(Certificate {
        subject: "kafka.example".to_owned(),
        issuer: "Example CA".to_owned(),
        names: vec!["kafka.example".to_owned()],
        days_left,
        chain: 1,
        version: "TLSv1.3",
        distrust,
    });
    dialed
}

fn offering(mechanisms: &[&str]) -> Speaks {
    Speaks::Kafka(Login::Sasl(
        mechanisms.iter().map(|&one| one.to_owned()).collect(),
    ))
}

/// A client in clear text that began at `bootstrap` and was told of these brokers.
fn told(bootstrap: Dialed, advertised: &[Dialed]) -> Observations {
    let brokers = (1..).zip(advertised).map(|(id, dialed)| Broker {
        id,
        address: dialed.address.clone(),
    });
    let cluster = Cluster {
        id: Some("one".to_owned()),
        brokers: brokers.collect(),
    };
    Observations {
        client: ClientFacts {
            message_max_bytes: 1_000_000,
            ..ClientFacts::default()
        },
        bootstraps: vec![Bootstrap {
            dialed: bootstrap,
            asked: Some(Ok(cluster)),
        }],
        advertised: advertised
            .iter()
            .map(|dialed| (dialed.address.clone(), dialed.clone()))
            .collect(),
        ..Observations::default()
    }
}

/// A client that got no further than this.
fn stuck(bootstrap: Dialed, trouble: Option<Trouble>) -> Observations {
    Observations {
        bootstraps: vec![Bootstrap {
            dialed: bootstrap,
            asked: trouble.map(Err),
        }],
        ..Observations::default()
    }
}

fn with_tls(mut seen: Observations) -> Observations {
    seen.client.tls = true;
    seen
}

fn with_login(mut seen: Observations, mechanism: &str) -> Observations {
    seen.client.mechanism = Some(mechanism.to_owned());
    seen
}

/// All is well up to the topic.
fn with_topic(state: TopicState, settings: &[(&str, &str)]) -> Observations {
    let broker = broker_at("kafka.example:9092", "192.0.2.1");
    let settings = settings
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let topic = Topic {
        name: "t".to_owned(),
        state,
        settings: Some(Ok(settings.collect())),
        creatable: None,
    };
    Observations {
        topic: Some(topic),
        ..told(broker.clone(), &[broker])
    }
}

fn partitions(replicas: usize, in_sync: usize) -> TopicState {
    let one = |id| Partition {
        id,
        leader: Some(1),
        replicas,
        in_sync,
    };
    TopicState::There(vec![one(0), one(1)])
}

fn denial(is_about_rights: bool) -> Denial {
    Denial {
        is_about_rights,
        said: "no".to_owned(),
    }
}

// ---------------------------------------------------------------------------------------------
// What is found

struct Case {
    name: &'static str,
    seen: Observations,
    finds: (Verdict, Step, &'static str),
    hinders: Option<Hindrance>,
    /// All of these are somewhere in what is said, advised, or to be set.
    says: &'static [&'static str],
}

fn assert_each(cases: Vec<Case>) {
    for case in cases {
        let name = case.name;
        let found = explain(&case.seen);
        let marks = |one: &&Finding| (one.verdict, one.step, one.code) == case.finds;
        let finding = found.iter().find(marks);
        let finding = finding.unwrap_or_else(|| panic!("{name}: {found:#?}"));
        assert_eq!(hindrance(&found), case.hinders, "{name}: {found:#?}");
        let text = serde_json::to_string(finding).unwrap();
        for words in case.says {
            assert!(text.contains(words), "{name}: {words} is not in {text}");
        }
        // One cause has one error.
        let errors = found
            .iter()
            .filter(|one| one.verdict == Verdict::Error)
            .count();
        assert_eq!(
            errors,
            usize::from(case.hinders.is_some()),
            "{name}: {found:#?}"
        );
    }
}

#[test]
fn an_advertised_address_that_is_wrong_is_explained_by_how_it_is_wrong() {
    let outside = || broker_at("kafka.example:9092", "192.0.2.1");
    let error = |code| (Verdict::Error, Step::Listener, code);
    let case = |name, bootstrap, advertised: &[Dialed], code, says| Case {
        name,
        seen: told(bootstrap, advertised),
        finds: error(code),
        hinders: Some(Hindrance::Listener),
        says,
    };
    assert_each(vec![
        case(
            "a container's name, in Docker on this machine",
            broker_at("localhost:9092", "127.0.0.1"),
            &[unresolved("kafka0:29092")],
            "advertised_unresolved",
            &[
                "localhost:9092 answers, and sends clients to broker 1 at kafka0:29092",
                "KAFKA_ADVERTISED_LISTENERS: INSIDE://kafka0:19092,OUTSIDE://localhost:9092",
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
                "KAFKA_INTER_BROKER_LISTENER_NAME: INSIDE",
                "/etc/hosts",
            ],
        ),
        case(
            "the inner name of a cloud's machine",
            broker_at("ec2-192-0-2-1.compute.amazonaws.com:9092", "192.0.2.1"),
            &[unresolved(
                "ip-172-31-18-160.us-west-2.compute.internal:9092",
            )],
            "advertised_unresolved",
            &[
                "inside the network of a cloud",
                "advertised.listeners=PLAINTEXT://ec2-192-0-2-1.compute.amazonaws.com:9092",
                "advertised.listeners=INSIDE://ip-172-31-18-160.us-west-2.compute.internal:19092,\
                 OUTSIDE://ec2-192-0-2-1.compute.amazonaws.com:9092",
                "inter.broker.listener.name=INSIDE",
            ],
        ),
        case(
            "a name inside Kubernetes",
            outside(),
            &[unresolved("kafka-0.kafka.prod.svc.cluster.local:9092")],
            "advertised_unresolved",
            &["Kubernetes", "loadbalancer"],
        ),
        case(
            "a name that only the broker's name servers know",
            outside(),
            &[unresolved("kafka-1.inner.example:9092")],
            "advertised_unresolved",
            &[
                "name servers",
                "listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
            ],
        ),
        case(
            "localhost, told to another machine",
            outside(),
            &[refused("localhost:9092", "127.0.0.1", Refusal::Refused)],
            "advertised_localhost",
            &[
                "which is this machine",
                "advertised.listeners=PLAINTEXT://kafka.example:9092",
            ],
        ),
        case(
            "no address at all",
            outside(),
            &[refused("0.0.0.0:9092", "0.0.0.0", Refusal::Refused)],
            "advertised_unspecified",
            &["0.0.0.0 is for `listeners`"],
        ),
        case(
            "a port that is mapped",
            broker_at("localhost:19092", "127.0.0.1"),
            &[refused("localhost:9092", "127.0.0.1", Refusal::Refused)],
            "advertised_port",
            &[
                "reached on port 19092",
                "Docker's -p",
                "OUTSIDE://localhost:19092",
            ],
        ),
        case(
            "a port that is mapped, on another machine",
            broker_at("kafka.example:19092", "192.0.2.1"),
            &[refused(
                "kafka.example:9092",
                "192.0.2.1",
                Refusal::TimedOut,
            )],
            "advertised_port",
            &["reached on port 19092"],
        ),
        case(
            "a private address, told outside",
            outside(),
            &[refused(
                "172.31.18.160:9092",
                "172.31.18.160",
                Refusal::TimedOut,
            )],
            "advertised_private",
            &[
                "right inside its own network",
                "INSIDE://172.31.18.160:19092,OUTSIDE://kafka.example:9092",
            ],
        ),
        case(
            "a private address, told inside",
            broker_at("10.0.0.1:9092", "10.0.0.1"),
            &[refused("10.9.0.1:9092", "10.9.0.1", Refusal::TimedOut)],
            "advertised_unreachable",
            &["firewall or security group"],
        ),
        case(
            "one of three, whose address outside nobody knows here",
            broker_at("lb.example:9092", "192.0.2.9"),
            &[
                broker_at("b1.example:9092", "192.0.2.1"),
                broker_at("b2.example:9092", "192.0.2.2"),
                refused("b3.example:9092", "192.0.2.3", Refusal::TimedOut),
            ],
            "advertised_unreachable",
            &[
                "broker 3 advertises b3.example:9092",
                "<name of broker 3 outside>:9092",
            ],
        ),
        case(
            "the port of the listener that speaks TLS",
            outside(),
            &[there("kafka.example:9093", "192.0.2.1", Speaks::Tls)],
            "tls_expected",
            &[
                "names the port of another listener",
                "listener.security.protocol.map",
            ],
        ),
        case(
            "the port of the listener with a login",
            outside(),
            &[there(
                "kafka.example:9094",
                "192.0.2.1",
                offering(&["PLAIN"]),
            )],
            "login_wanted",
            &["names the port of another listener"],
        ),
        case(
            "the port of another program",
            outside(),
            &[there(
                "kafka.example:8080",
                "192.0.2.1",
                Speaks::Stranger(Stranger::Http),
            )],
            "not_kafka",
            &["speaks HTTP"],
        ),
    ]);
}

#[test]
fn localhost_that_answers_elsewhere_than_at_the_broker_is_a_warning() {
    assert_each(vec![Case {
        name: "another broker runs here",
        seen: told(
            broker_at("kafka.example:9092", "192.0.2.1"),
            &[broker_at("localhost:9092", "127.0.0.1")],
        ),
        finds: (Verdict::Warning, Step::Listener, "advertised_localhost"),
        hinders: None,
        says: &["or it is another broker that answers here"],
    }]);
}

#[test]
fn the_settings_name_the_protocol_of_the_client() {
    let seen = told(
        broker_at("localhost:9092", "127.0.0.1"),
        &[unresolved("kafka0:9092")],
    );
    let cases = [
        (seen.clone(), "OUTSIDE:PLAINTEXT"),
        (with_tls(seen.clone()), "OUTSIDE:SSL"),
        (with_login(seen.clone(), "PLAIN"), "OUTSIDE:SASL_PLAINTEXT"),
        (with_login(with_tls(seen), "PLAIN"), "OUTSIDE:SASL_SSL"),
    ];
    for (mut seen, words) in cases {
        let mechanism = seen.client.mechanism.is_some();
        let login = if mechanism {
            offering(&["PLAIN"])
        } else {
            Speaks::Kafka(Login::None)
        };
        seen.bootstraps[0].dialed.reached.as_mut().unwrap().speaks = login;
        let text = serde_json::to_string(&explain(&seen)).unwrap();
        assert!(text.contains(&format!("{words}\"")), "{words}: {text}");
    }
}

#[test]
fn an_address_to_begin_with_that_is_wrong_is_explained() {
    let error = |step, code| (Verdict::Error, step, code);
    let unreachable = Some(Hindrance::Unreachable);
    let case = |name, seen, step, code, hinders, says| Case {
        name,
        seen,
        finds: error(step, code),
        hinders,
        says,
    };
    let authentication = Some(Hindrance::Authentication);
    let at = |speaks| there("kafka.example:9092", "192.0.2.1", speaks);
    let broker = || broker_at("kafka.example:9092", "192.0.2.1");
    assert_each(vec![
        case(
            "a slip of the pen",
            stuck(unresolved("kafak.example:9092"), None),
            Step::Bootstrap,
            "unresolved",
            unreachable,
            &["does not resolve"],
        ),
        case(
            "a broker that is down",
            stuck(refused("kafka.example:9092", "192.0.2.1", Refusal::Refused), None),
            Step::Bootstrap,
            "refused",
            unreachable,
            &["192.0.2.1: connection refused"],
        ),
        case(
            "a firewall",
            stuck(refused("kafka.example:9092", "192.0.2.1", Refusal::TimedOut), None),
            Step::Bootstrap,
            "timed_out",
            unreachable,
            &["firewalls"],
        ),
        case(
            "no network",
            stuck(
                refused("kafka.example:9092", "192.0.2.1", Refusal::Other("Network is unreachable".to_owned())),
                None,
            ),
            Step::Bootstrap,
            "unreachable",
            unreachable,
            &["network is unreachable"],
        ),
        case(
            "a port that wants TLS",
            stuck(at(Speaks::Tls), None),
            Step::Tls,
            "tls_expected",
            authentication,
            &["kafka.security = \\\"tls\\\""],
        ),
        case(
            "a port that wants TLS, for a client with a login",
            with_login(stuck(at(Speaks::Tls), None), "PLAIN"),
            Step::Tls,
            "tls_expected",
            authentication,
            &["kafka.security = \\\"sasl-tls\\\""],
        ),
        case(
            "a port that does not speak TLS",
            with_tls(stuck(at(Speaks::Plaintext(Login::None)), None)),
            Step::Tls,
            "tls_not_expected",
            authentication,
            &["kafka.security = \\\"plaintext\\\"", "SASL_SSL"],
        ),
        case(
            "a port with a login that does not speak TLS",
            with_tls(stuck(at(Speaks::Plaintext(Login::Sasl(vec!["PLAIN".to_owned()]))), None)),
            Step::Tls,
            "tls_not_expected",
            authentication,
            &["kafka.security = \\\"sasl-plaintext\\\""],
        ),
        case(
            "a broker that wants our certificate",
            with_tls(stuck(at(Speaks::WantsCertificate("certificate required".to_owned())), None)),
            Step::Tls,
            "client_certificate_wanted",
            authentication,
            &["kafka.client_cert_file"],
        ),
        case(
            "a search engine",
            stuck(at(Speaks::Stranger(Stranger::Http)), None),
            Step::Bootstrap,
            "not_kafka",
            unreachable,
            &["the port speaks HTTP"],
        ),
        case(
            "a listener with a login, and none given",
            stuck(at(offering(&["PLAIN", "SCRAM-SHA-512"])), None),
            Step::Login,
            "login_wanted",
            authentication,
            &["PLAIN or SCRAM-SHA-512", "sasl-plaintext"],
        ),
        case(
            "a listener without a login, and one given",
            with_login(stuck(broker(), None), "PLAIN"),
            Step::Login,
            "login_not_wanted",
            authentication,
            &["kafka.security = \\\"plaintext\\\"", "SASL_PLAINTEXT"],
        ),
        case(
            "a mechanism that is not offered",
            with_login(stuck(at(offering(&["PLAIN"])), None), "SCRAM-SHA-512"),
            Step::Login,
            "mechanism_not_offered",
            authentication,
            &["sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512"],
        ),
        case(
            "a wrong password",
            with_login(
                stuck(
                    at(offering(&["SCRAM-SHA-512"])),
                    Some(Trouble::Login(
                        "sasl_ssl://a:1/bootstrap: SASL authentication error: invalid credentials (after 3ms in state AUTH_REQ)".to_owned(),
                    )),
                ),
                "SCRAM-SHA-512",
            ),
            Step::Login,
            "login_failed",
            authentication,
            &["failed: invalid credentials\"", "each mechanism apart", "SCRAM-SHA-512=[password="],
        ),
        case(
            "an old broker",
            stuck(broker(), Some(Trouble::Other("no answer".to_owned()))),
            Step::Cluster,
            "no_metadata",
            unreachable,
            &["no answer"],
        ),
    ]);
}

#[test]
fn a_certificate_that_is_not_trusted_is_explained() {
    let broker = || broker_at("kafka.example:9093", "192.0.2.1");
    let case = |name, distrust, code, says| Case {
        name,
        seen: with_tls(stuck(certified(broker(), -3, Some(distrust)), None)),
        finds: (Verdict::Error, Step::Tls, code),
        hinders: Some(Hindrance::Authentication),
        says,
    };
    let mut cases = vec![
        case(
            "expired",
            Distrust::Expired,
            "certificate_expired",
            &["expired 3 days ago"][..],
        ),
        case(
            "clocks",
            Distrust::NotYetValid,
            "certificate_too_early",
            &["clocks"],
        ),
        case(
            "an authority of one's own",
            Distrust::UnknownIssuer,
            "certificate_untrusted",
            &["signed by Example CA", "kafka.ca_file"],
        ),
        case(
            "another name",
            Distrust::WrongName,
            "certificate_name",
            &["is for kafka.example, and not for kafka.example"],
        ),
        case(
            "a weak key",
            Distrust::Other("EE certificate key too weak".to_owned()),
            "certificate_refused",
            &["too weak"],
        ),
    ];
    // The bootstrap's name is in the certificate, and the advertised one is not.
    let advertised = certified(
        broker_at("b1.example:9093", "192.0.2.1"),
        90,
        Some(Distrust::WrongName),
    );
    cases.push(Case {
        name: "the advertised name is not in the certificate",
        seen: with_tls(told(certified(broker(), 90, None), &[advertised])),
        finds: (Verdict::Error, Step::Listener, "certificate_name"),
        hinders: Some(Hindrance::Listener),
        says: &["not for b1.example", "all of its advertised listeners"],
    });
    assert_each(cases);
}

#[test]
fn a_certificate_that_expires_soon_is_a_warning() {
    let broker = |days| certified(broker_at("kafka.example:9093", "192.0.2.1"), days, None);
    for (days, verdict) in [
        (200, Verdict::Ok),
        (13, Verdict::Warning),
        (0, Verdict::Warning),
    ] {
        let found = explain(&with_tls(told(broker(days), &[broker(days)])));
        let finding = found.iter().find(|one| one.code == "certificate").unwrap();
        assert_eq!(finding.verdict, verdict, "{days} days");
    }
}

#[test]
fn a_topic_that_does_not_take_or_keep_what_is_sent_is_explained() {
    let large = ("max.message.bytes", "1048588");
    let error = |code| (Verdict::Error, Step::Topic, code);
    let topic = Some(Hindrance::Topic);
    let creatable = |creatable| {
        let mut seen = with_topic(TopicState::Missing, &[]);
        seen.topic.as_mut().unwrap().creatable = creatable;
        seen
    };
    let mut unasked = creatable(None);
    unasked.client.may_create = true;
    let mut leaderless = with_topic(partitions(3, 3), &[]);
    if let TopicState::There(partitions) = &mut leaderless.topic.as_mut().unwrap().state {
        partitions[1].leader = None;
    }
    let case = |name, seen, finds, hinders, says| Case {
        name,
        seen,
        finds,
        hinders,
        says,
    };
    assert_each(vec![
        case(
            "missing",
            creatable(None),
            error("topic_missing"),
            topic,
            &["kafka.create_topics"][..],
        ),
        case(
            "missing, and nobody could ask",
            unasked,
            (Verdict::Warning, Step::Topic, "topic_missing"),
            None,
            &["cannot be asked with this login"],
        ),
        case(
            "missing, and made by the agent",
            creatable(Some(Ok(()))),
            (Verdict::Note, Step::Topic, "topic_missing"),
            None,
            &["may make it"],
        ),
        case(
            "missing, and not to be made",
            creatable(Some(Err(denial(true)))),
            error("topic_missing"),
            topic,
            &["--operation Create", "looks missing too"],
        ),
        case(
            "missing, with more replicas than brokers",
            creatable(Some(Err(denial(false)))),
            error("topic_missing"),
            topic,
            &["kafka.replication"],
        ),
        case(
            "not to be seen",
            with_topic(TopicState::Denied, &[]),
            error("topic_denied"),
            topic,
            &["Describe"],
        ),
        case(
            "without a leader",
            leaderless,
            error("no_leader"),
            topic,
            &["without a leader: 1"],
        ),
        case(
            "too small",
            with_topic(partitions(1, 1), &[("max.message.bytes", "1000")]),
            error("message_size"),
            topic,
            &[
                "is 1000, and the agent sends up to 1000000",
                "kafka.message_max_bytes",
                "max.message.bytes=1001024",
            ],
        ),
        case(
            "large enough",
            with_topic(partitions(1, 1), &[large]),
            (Verdict::Ok, Step::Topic, "message_size"),
            None,
            &[],
        ),
        case(
            "too few in sync now",
            with_topic(partitions(3, 1), &[large, ("min.insync.replicas", "2")]),
            error("too_few_in_sync"),
            topic,
            &["bring the missing brokers back"],
        ),
        case(
            "too few in sync for ever",
            with_topic(partitions(1, 1), &[large, ("min.insync.replicas", "2")]),
            error("too_few_in_sync"),
            topic,
            &["that can never be", "min.insync.replicas=1"],
        ),
        case(
            "a replica behind",
            with_topic(partitions(3, 2), &[large, ("min.insync.replicas", "2")]),
            (Verdict::Warning, Step::Topic, "replicas_behind"),
            None,
            &["behind: 0, 1"],
        ),
        case(
            "compacted",
            with_topic(
                partitions(1, 1),
                &[large, ("cleanup.policy", "compact,delete")],
            ),
            error("compacted"),
            topic,
            &["cleanup.policy=delete"],
        ),
        case(
            "kept for a week",
            with_topic(
                partitions(1, 1),
                &[
                    large,
                    ("retention.ms", "604800000"),
                    ("retention.bytes", "-1"),
                ],
            ),
            (Verdict::Ok, Step::Topic, "retention"),
            None,
            &["for 7 days\""],
        ),
        case(
            "kept for ever, within bytes",
            with_topic(
                partitions(1, 1),
                &[large, ("retention.ms", "-1"), ("retention.bytes", "100")],
            ),
            (Verdict::Ok, Step::Topic, "retention"),
            None,
            &["for ever, 100 bytes per partition"],
        ),
    ]);
}

#[test]
fn a_probe_that_is_refused_is_explained_by_the_right_that_lacks() {
    let probed = |probe| {
        let mut seen = with_topic(partitions(1, 1), &[("max.message.bytes", "1048588")]);
        seen.probe = Some(probe);
        seen
    };
    let sent = Probe {
        sent: 3,
        refused: Vec::new(),
        round_trips: [9, 1, 2].map(Duration::from_millis).to_vec(),
        read: Some(Ok(3)),
    };
    let refused = |is_about_rights| Probe {
        refused: vec![(0, denial(is_about_rights)), (1, denial(is_about_rights))],
        ..Probe::default()
    };
    let case = |name, probe, finds: (Verdict, &'static str), hinders, says| Case {
        name,
        seen: probed(probe),
        finds: (finds.0, Step::Probe, finds.1),
        hinders,
        says,
    };
    assert_each(vec![
        case(
            "well",
            sent.clone(),
            (Verdict::Ok, "written"),
            None,
            &["p50 2.0 ms, p99 9.0 ms (of 3)"][..],
        ),
        case(
            "read again",
            sent.clone(),
            (Verdict::Ok, "read"),
            None,
            &["3 messages read"],
        ),
        case(
            "no right to write",
            refused(true),
            (Verdict::Error, "write_refused"),
            Some(Hindrance::Topic),
            &["--operation Write"],
        ),
        case(
            "no answer",
            refused(false),
            (Verdict::Error, "write_refused"),
            Some(Hindrance::Topic),
            &["2 partitions took nothing"],
        ),
        case(
            "no right to read",
            Probe {
                read: Some(Err(denial(true))),
                ..sent.clone()
            },
            (Verdict::Warning, "read_refused"),
            None,
            &["the agent only writes", "--operation Read"],
        ),
        case(
            "not read in time",
            Probe {
                read: Some(Ok(1)),
                ..sent
            },
            (Verdict::Warning, "read_short"),
            None,
            &["only 1 could be read"],
        ),
    ]);
}

#[test]
fn one_address_that_works_makes_the_others_a_warning() {
    let broker = broker_at("a.example:9092", "192.0.2.1");
    let mut seen = told(broker.clone(), &[broker]);
    seen.bootstraps.push(Bootstrap {
        dialed: unresolved("b.example:9092"),
        asked: None,
    });
    assert_each(vec![Case {
        name: "the second of two",
        seen,
        finds: (Verdict::Warning, Step::Bootstrap, "unresolved"),
        hinders: None,
        says: &["another address works"],
    }]);
}

#[test]
fn addresses_of_two_clusters_are_an_error() {
    let (a, b) = (
        broker_at("a.example:9092", "192.0.2.1"),
        broker_at("b.example:9092", "192.0.2.2"),
    );
    let mut seen = told(a.clone(), &[a]);
    let mut other = told(b.clone(), &[b]);
    if let Some(Ok(cluster)) = &mut other.bootstraps[0].asked {
        cluster.id = Some("two".to_owned());
    }
    seen.bootstraps.append(&mut other.bootstraps);
    seen.advertised.append(&mut other.advertised);
    assert_each(vec![Case {
        name: "two clusters",
        seen,
        finds: (Verdict::Error, Step::Cluster, "two_clusters"),
        hinders: Some(Hindrance::Unreachable),
        says: &["of cluster two, and a.example:9092 is of cluster one"],
    }]);
}

#[test]
fn what_several_addresses_tell_alike_is_told_once() {
    let advertised = unresolved("kafka0:9092");
    let mut seen = told(
        broker_at("a.example:9092", "192.0.2.1"),
        std::slice::from_ref(&advertised),
    );
    let mut other = told(broker_at("b.example:9092", "192.0.2.2"), &[advertised]);
    seen.bootstraps.append(&mut other.bootstraps);
    let found = explain(&seen);
    let errors: Vec<_> = found
        .iter()
        .filter(|one| one.verdict == Verdict::Error)
        .collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
}

#[test]
fn a_name_with_an_address_that_is_dead_is_a_warning_and_localhost_a_note() {
    let cases = [
        (
            "kafka.example:9092",
            "192.0.2.1",
            "192.0.2.2",
            Verdict::Warning,
        ),
        ("localhost:9092", "127.0.0.1", "::1", Verdict::Note),
    ];
    for (address, alive, dead, verdict) in cases {
        let mut broker = broker_at(address, alive);
        broker
            .refused
            .push((dead.parse().unwrap(), Refusal::Refused));
        let found = explain(&told(broker.clone(), &[broker]));
        let found: Vec<_> = found
            .iter()
            .filter(|one| one.code == "some_addresses_refused")
            .collect();
        // Where it begins, and where it is advertised.
        assert_eq!(found.len(), 2, "{address}");
        assert!(found.iter().all(|one| one.verdict == verdict), "{address}");
    }
}

#[test]
fn a_check_that_ran_out_of_time_says_so() {
    let broker = broker_at("kafka.example:9092", "192.0.2.1");
    let mut seen = told(broker.clone(), &[broker]);
    seen.out_of_time = Some(Duration::from_secs(30));
    let found = explain(&seen);
    let finding = found.iter().find(|one| one.code == "out_of_time").unwrap();
    assert_eq!(finding.verdict, Verdict::Error);
    assert!(finding.says.contains("30s"), "{}", finding.says);
}

#[test]
fn nothing_seen_finds_nothing() {
    let seen = Observations {
        advertised: BTreeMap::<Address, Dialed>::new(),
        ..Observations::default()
    };
    assert!(explain(&seen).is_empty());
}
