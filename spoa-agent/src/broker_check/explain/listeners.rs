//! The addresses that brokers advertise: the failure that lets a client connect and then reach nobody.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{certified, login_fits, refused_addresses, remedies, strangers, why_not_reached};
use crate::broker_check::address::{Address, Place, place_of};
use crate::broker_check::dial::{Dialed, Speaks};
use crate::broker_check::finding::{Finding, Remedy, Step, Verdict};
use crate::broker_check::seen::{Bootstrap, Broker, Observations};

/// Judges each broker where each of our addresses was told it is.
pub(super) fn explain(seen: &Observations, found: &mut Vec<Finding>) {
    // What several addresses tell in the same way is told once.
    let mut told = BTreeSet::new();
    for bootstrap in &seen.bootstraps {
        let Some(Ok(cluster)) = &bootstrap.asked else {
            continue;
        };
        let is_alone = cluster.brokers.len() == 1;
        for broker in &cluster.brokers {
            if told.insert((broker.id, &broker.address)) {
                let look = Look {
                    seen,
                    bootstrap,
                    broker,
                    is_alone,
                };
                one(&look, found);
            }
        }
    }
}

/// A broker, as it was told on an address.
struct Look<'a> {
    seen: &'a Observations,
    bootstrap: &'a Bootstrap,
    broker: &'a Broker,
    /// It is the only one, so the address of ours is its own.
    is_alone: bool,
}

fn one(look: &Look<'_>, found: &mut Vec<Finding>) {
    let Some(dialed) = look.seen.advertised.get(&look.broker.address) else {
        return;
    };
    let Some(reached) = &dialed.reached else {
        found.push(look.not_reached(dialed));
        return;
    };
    found.extend(refused_addresses(dialed, Step::Listener));
    let certificate = reached.certificate.as_ref();
    if let Some(distrusted) = certificate.filter(|certificate| certificate.distrust.is_some()) {
        found.push(certified(dialed, distrusted, Step::Listener));
        return;
    }
    let Speaks::Kafka(login) = &reached.speaks else {
        let finding =
            strangers::explain(look.seen, &dialed.address, &reached.speaks, Step::Listener);
        found.push(look.of_another_listener(finding));
        return;
    };
    if let Some(misfit) = login_fits(look.seen, &dialed.address, login, Step::Listener) {
        found.push(look.of_another_listener(misfit));
        return;
    }
    if look.advertised() == Place::Loopback && !look.began_at_home() {
        found.push(look.at_home(dialed));
        return;
    }
    let took = reached.took.as_secs_f64() * 1e3;
    let says = format!(
        "broker {} is there: {} in {took:.1} ms",
        look.broker.id, reached.ip
    );
    found.push(Finding::new(
        Verdict::Ok,
        Step::Listener,
        &dialed.address,
        "listener_reached",
        says,
    ));
}

impl Look<'_> {
    fn not_reached(&self, dialed: &Dialed) -> Finding {
        let (broker, address, from) = (
            self.broker.id,
            &self.broker.address,
            &self.bootstrap.dialed.address,
        );
        let (code, why) = why_not_reached(dialed);
        let place = self.advertised();
        let error = |code, says: String| {
            Finding::new(Verdict::Error, Step::Listener, address, code, says).advice(format!(
                "{from} answers, and sends clients to broker {broker} at {address}; records go there, not to {from}. The broker says so \
                 in `advertised.listeners`, or by its own host name where that is not set"
            ))
        };
        match (code, place) {
            (_, Place::Unspecified) => error(
                "advertised_unspecified",
                format!("broker {broker} advertises {}, which is no address", address.host),
            )
            .advice("0.0.0.0 is for `listeners` (all interfaces); `advertised.listeners` needs a host that clients can reach")
            .remedies(self.all_remedies()),
            (_, Place::Loopback) if !self.began_at_home() => error(
                "advertised_localhost",
                format!("broker {broker} advertises {address}, which is this machine, and nobody is there"),
            )
            .advice("localhost is right for clients on the broker's own machine only")
            .remedies(self.all_remedies()),
            ("unresolved", _) => error(
                "advertised_unresolved",
                format!("broker {broker} advertises {address}, which {why}"),
            )
            .advice(self.about_the_name(place))
            .remedies(self.remedies_for(place)),
            (_, _) if self.is_same_host(dialed) && address.port != from.port => error(
                "advertised_port",
                format!("broker {broker} advertises port {} of this host, where nobody answers ({why})", address.port),
            )
            .advice(format!(
                "it was reached on port {}: a port that is mapped (Docker's -p, a load balancer, a tunnel) has to be advertised as it is \
                 outside",
                from.port
            ))
            .remedies(self.all_remedies()),
            (_, Place::Private) if self.began_elsewhere() => error(
                "advertised_private",
                format!("broker {broker} advertises the private address {address} to a client outside ({why})"),
            )
            .advice("a private address is right inside its own network only")
            .remedies(self.remedies_for(Place::Cloud)),
            _unreachable => error(
                "advertised_unreachable",
                format!("broker {broker} advertises {address}, which cannot be reached ({why})"),
            )
            .advice(
                "either this is another network than the one that listener is for, or a firewall or security group lets only the other port \
                 through",
            )
            .remedies(self.remedies_for(place)),
        }
    }

    /// Reached on this machine, though the broker seems to be on another.
    fn at_home(&self, dialed: &Dialed) -> Finding {
        let from = &self.bootstrap.dialed.address;
        let says = format!(
            "broker {} advertises {}, and a broker is there on this machine, though {from} is not",
            self.broker.id, dialed.address
        );
        Finding::new(Verdict::Warning, Step::Listener, &dialed.address, "advertised_localhost", says)
            .advice("it works from the broker's own machine only, or it is another broker that answers here")
            .remedies(self.all_remedies())
    }

    /// Somebody is there, and the client cannot talk to it.
    fn of_another_listener(&self, finding: Finding) -> Finding {
        let from = &self.bootstrap.dialed.address;
        let broker = self.broker.id;
        finding.advice(format!(
            "{from} is spoken to in the right way, so `advertised.listeners` of broker {broker} names the port of another listener: compare \
             it with `listeners` and `listener.security.protocol.map`, name by name"
        ))
    }

    fn about_the_name(&self, place: Place) -> &'static str {
        match place {
            Place::Short => {
                "a name without a dot is known inside a network of containers, or to the broker's neighbours. Give this machine that name \
                 (DNS, or a line in /etc/hosts) only to try it out: the broker has to advertise what clients know"
            }
            Place::Kubernetes => {
                "this is a name inside a Kubernetes cluster. Run the agent inside it, or give the brokers an external listener (a load \
                 balancer or node port for each broker; in Strimzi `listeners` with `type: loadbalancer` or `nodeport`)"
            }
            Place::Cloud => {
                "this is a name inside the network of a cloud. Run the agent inside it, connect the networks with their name servers, or give \
                 the brokers a second listener for clients outside"
            }
            _other => {
                "the name servers of the broker's network know it, and those of this machine do not"
            }
        }
    }

    fn remedies_for(&self, place: Place) -> Vec<Remedy> {
        let (client, outside) = (&self.seen.client, self.outside());
        let inside = self.inside();
        match place {
            Place::Short => vec![
                remedies::docker(client, &inside, &outside),
                remedies::two_networks(client, &inside, &outside),
            ],
            Place::Kubernetes => vec![remedies::two_networks(client, &inside, &outside)],
            _other => vec![
                remedies::one_name(client, &outside),
                remedies::two_networks(client, &inside, &outside),
            ],
        }
    }

    fn all_remedies(&self) -> Vec<Remedy> {
        let (client, inside, outside) = (&self.seen.client, self.inside(), self.outside());
        vec![
            remedies::one_name(client, &outside),
            remedies::docker(client, &inside, &outside),
            remedies::two_networks(client, &inside, &outside),
        ]
    }

    /// What brokers would call this one among themselves.
    fn inside(&self) -> String {
        match self.advertised() {
            Place::Short | Place::Private | Place::Kubernetes | Place::Cloud => {
                self.broker.address.host.clone()
            }
            _other => format!("<name of broker {} inside>", self.broker.id),
        }
    }

    /// What clients here could reach it by.
    fn outside(&self) -> Address {
        let from = &self.bootstrap.dialed.address;
        if self.is_alone {
            return from.clone();
        }
        Address {
            host: format!("<name of broker {} outside>", self.broker.id),
            port: from.port,
        }
    }

    fn advertised(&self) -> Place {
        self.broker.address.place()
    }

    /// The address of ours is on this machine.
    fn began_at_home(&self) -> bool {
        self.met_at()
            .is_some_and(|ip| place_of(ip) == Place::Loopback)
    }

    /// The address of ours is not one of a private network.
    fn began_elsewhere(&self) -> bool {
        self.met_at()
            .is_some_and(|ip| place_of(ip) == Place::Elsewhere)
    }

    fn met_at(&self) -> Option<IpAddr> {
        Some(self.bootstrap.dialed.reached.as_ref()?.ip)
    }

    fn is_same_host(&self, dialed: &Dialed) -> bool {
        let ips = dialed.resolved.as_deref().unwrap_or_default();
        self.is_alone && self.met_at().is_some_and(|ip| ips.contains(&ip))
    }
}
