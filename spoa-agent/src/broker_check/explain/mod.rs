//! From facts to judgements: a pure function, so that each is tested without a broker.

mod listeners;
mod remedies;
mod strangers;
mod topic;

use super::dial::{Dialed, Refusal, Speaks};
use super::finding::{Finding, Step, Verdict};
use super::greeting::Login;
use super::seen::{Bootstrap, Observations, Trouble};
use super::tls::{Certificate, Distrust};

/// What the observations mean, in the order of the steps.
#[must_use]
pub fn explain(seen: &Observations) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(why) = &seen.unusable {
        let finding = Finding::new(
            Verdict::Error,
            Step::Tls,
            "client",
            "tls_setup",
            why.as_str(),
        );
        found.push(finding.advice("the agent could not make a connection with these files either"));
    }
    for bootstrap in &seen.bootstraps {
        bootstrap_steps(seen, bootstrap, &mut found);
    }
    soften_where_another_works(seen, &mut found);
    clusters(seen, &mut found);
    listeners::explain(seen, &mut found);
    topic::explain(seen, &mut found);
    if let Some(limit) = seen.out_of_time {
        let says = format!("not everything was looked at within {limit:?}");
        let finding = Finding::new(Verdict::Error, Step::Probe, "check", "out_of_time", says);
        found.push(finding.advice("give it longer with --deadline, or name fewer addresses"));
    }
    found.sort_by_key(|finding| finding.step);
    found
}

fn bootstrap_steps(seen: &Observations, bootstrap: &Bootstrap, found: &mut Vec<Finding>) {
    let (dialed, address) = (&bootstrap.dialed, &bootstrap.dialed.address);
    let finding =
        |verdict, step, code, says: String| Finding::new(verdict, step, address, code, says);
    let Some(reached) = &dialed.reached else {
        found.push(not_reached(dialed));
        return;
    };
    let took = reached.took.as_secs_f64() * 1e3;
    let says = format!("connected to {} in {took:.1} ms", reached.ip);
    found.push(finding(Verdict::Ok, Step::Bootstrap, "connected", says));
    found.extend(refused_addresses(dialed, Step::Bootstrap));
    if let Some(certificate) = &reached.certificate {
        found.push(certified(dialed, certificate, Step::Tls));
    }
    match &reached.speaks {
        Speaks::Kafka(login) => found.extend(login_fits(seen, address, login, Step::Login)),
        other => {
            found.push(strangers::explain(seen, address, other, Step::Bootstrap));
            return;
        }
    }
    match &bootstrap.asked {
        Some(Err(Trouble::Login(said))) => found.push(login_failed(seen, bootstrap, said)),
        Some(Err(Trouble::Other(said))) => {
            let says = format!("a broker answers, and tells nothing of its cluster: {said}");
            found.push(finding(Verdict::Error, Step::Cluster, "no_metadata", says));
        }
        Some(Ok(cluster)) => {
            if let Some(mechanism) = &seen.client.mechanism {
                let says = format!("logged in with {mechanism}");
                found.push(finding(Verdict::Ok, Step::Login, "logged_in", says));
            }
            let id = cluster.id.as_deref().unwrap_or("(no id)");
            let count = cluster.brokers.len();
            let says = format!("cluster {id}, brokers: {count}");
            found.push(finding(Verdict::Ok, Step::Cluster, "cluster", says));
        }
        None => {}
    }
}

/// No connection at all.
fn not_reached(dialed: &Dialed) -> Finding {
    let (code, says) = why_not_reached(dialed);
    let advice = match code {
        "unresolved" => {
            "the name is not known here: look for a slip of the pen, or ask the name server that this machine uses"
        }
        "refused" => {
            "the machine is there, and nobody listens on this port: the broker is down, listens on another port, or only on another \
             interface (`listeners`)"
        }
        _other => "no answer: look at firewalls, security groups and routes between here and there",
    };
    Finding::new(Verdict::Error, Step::Bootstrap, &dialed.address, code, says).advice(advice)
}

/// A code and a line.
fn why_not_reached(dialed: &Dialed) -> (&'static str, String) {
    match &dialed.resolved {
        Err(why) => return ("unresolved", format!("does not resolve: {why}")),
        Ok(_ips) => {}
    }
    let reasons: Vec<String> = dialed
        .refused
        .iter()
        .map(|(ip, refusal)| format!("{ip}: {}", refusal_words(refusal)))
        .collect();
    let is = |wanted: &Refusal| dialed.refused.iter().any(|(_, refusal)| refusal == wanted);
    let code = if is(&Refusal::Refused) {
        "refused"
    } else if is(&Refusal::TimedOut) {
        "timed_out"
    } else {
        "unreachable"
    };
    (code, reasons.join(", "))
}

fn refusal_words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Refused => "connection refused".to_owned(),
        Refusal::TimedOut => "no answer".to_owned(),
        Refusal::Other(said) => said.to_lowercase(),
    }
}

/// Some addresses of a name work, others do not: the client takes any of them.
fn refused_addresses(dialed: &Dialed, step: Step) -> Option<Finding> {
    if dialed.refused.is_empty() {
        return None;
    }
    let (_, says) = why_not_reached(dialed);
    // `localhost` is both ::1 and 127.0.0.1, and brokers listen on one.
    let is_loopback = dialed.refused.iter().all(|(ip, _)| ip.is_loopback());
    let verdict = if is_loopback {
        Verdict::Note
    } else {
        Verdict::Warning
    };
    let finding = Finding::new(
        verdict,
        step,
        &dialed.address,
        "some_addresses_refused",
        says,
    );
    Some(finding.advice("the name has several addresses, and the client tries any of them: each that is dead costs time"))
}

/// What the broker's certificate is.
fn certified(dialed: &Dialed, certificate: &Certificate, step: Step) -> Finding {
    let address = &dialed.address;
    let names = certificate.names.join(", ");
    let Some(distrust) = &certificate.distrust else {
        let days = certificate.days_left;
        let says = format!(
            "{}, certificate of {} by {}, for {names}, {days} days left",
            certificate.version, certificate.subject, certificate.issuer
        );
        let verdict = if days < DAYS_TO_RENEW {
            Verdict::Warning
        } else {
            Verdict::Ok
        };
        let finding = Finding::new(verdict, step, address, "certificate", says);
        return match verdict {
            Verdict::Warning => {
                finding.advice("it expires soon; after that the client refuses the broker")
            }
            _fine => finding,
        };
    };
    let (code, says, advice) = match distrust {
        Distrust::Expired => (
            "certificate_expired",
            format!(
                "the certificate of {} expired {} days ago",
                certificate.subject,
                certificate.days_left.unsigned_abs()
            ),
            "renew it in the broker's keystore (`ssl.keystore.location`)".to_owned(),
        ),
        Distrust::NotYetValid => (
            "certificate_too_early",
            format!(
                "the certificate of {} is not valid yet",
                certificate.subject
            ),
            "compare the clocks of this machine and of the one that made it".to_owned(),
        ),
        Distrust::UnknownIssuer => (
            "certificate_untrusted",
            format!(
                "the certificate of {} is signed by {}, which is not trusted here",
                certificate.subject, certificate.issuer
            ),
            format!(
                "put the certificate of {} into a PEM file and name it in `kafka.ca_file`; the broker sent {} certificates, and must \
                 send those in between too (`ssl.keystore.location`)",
                certificate.issuer, certificate.chain
            ),
        ),
        Distrust::WrongName => (
            "certificate_name",
            format!(
                "the certificate is for {names}, and not for {}",
                address.host
            ),
            format!(
                "connect by a name that it has, or make one that has {} as an alternative name. A broker's certificate needs the names of \
                 all of its advertised listeners",
                address.host
            ),
        ),
        Distrust::Other(said) => (
            "certificate_refused",
            format!(
                "the certificate of {} is refused: {said}",
                certificate.subject
            ),
            "see what OpenSSL says of it: openssl s_client -connect HOST:PORT -showcerts"
                .to_owned(),
        ),
    };
    Finding::new(Verdict::Error, step, address, code, says).advice(advice)
}

/// Whether the listener wants the login that the client has.
fn login_fits(
    seen: &Observations,
    address: &super::address::Address,
    login: &Login,
    step: Step,
) -> Option<Finding> {
    let tls = seen.client.tls;
    let error = |code, says: String| Some(Finding::new(Verdict::Error, step, address, code, says));
    match (login, &seen.client.mechanism) {
        (Login::None, Some(mechanism)) => {
            let words = if tls {
                ("tls", "SSL", "SASL_SSL")
            } else {
                ("plaintext", "PLAINTEXT", "SASL_PLAINTEXT")
            };
            let says =
                format!("the listener takes no login, and the client logs in with {mechanism}");
            Some(error("login_not_wanted", says)?.advice(format!(
                "this is a listener of protocol {}: set `kafka.security = \"{}\"`, or use the port of a listener that \
                 `listener.security.protocol.map` maps to {}",
                words.1, words.0, words.2
            )))
        }
        (Login::Sasl(offered), None) => {
            let word = if tls { "sasl-tls" } else { "sasl-plaintext" };
            let says = format!(
                "the listener wants a login with {}, and the client has none",
                offered.join(" or ")
            );
            Some(error("login_wanted", says)?.advice(format!(
                "set `kafka.security = \"{word}\"`, `kafka.sasl` and what belongs to it, or use the port of a listener without a login"
            )))
        }
        (Login::Sasl(offered), Some(mechanism)) if !offered.contains(mechanism) => {
            let says = format!(
                "the listener does not offer {mechanism}; it offers {}",
                offered.join(", ")
            );
            Some(
                error("mechanism_not_offered", says)?
                    .advice(format!(
                        "set `kafka.sasl` to one of these, or enable {mechanism} at the broker"
                    ))
                    .remedy(remedies::mechanism(offered, mechanism)),
            )
        }
        _fits => None,
    }
}

fn login_failed(seen: &Observations, bootstrap: &Bootstrap, said: &str) -> Finding {
    let mechanism = seen.client.mechanism.as_deref().unwrap_or("no mechanism");
    let says = format!(
        "the login with {mechanism} failed: {}",
        without_address(said)
    );
    let finding = Finding::new(
        Verdict::Error,
        Step::Login,
        &bootstrap.dialed.address,
        "login_failed",
        says,
    );
    match mechanism {
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => finding
            .advice(format!(
                "the name, the password, or the mechanism is wrong: a broker keeps a user for each mechanism apart, so one made for another \
                 than {mechanism} does not exist for this one"
            ))
            .remedy(remedies::scram_user(mechanism)),
        "PLAIN" => finding.advice(
            "the name or the password is wrong; the broker has its users in `listener.name.<listener>.plain.sasl.jaas.config`",
        ),
        "OAUTHBEARER" => finding.advice(
            "the token was not given or not taken: look at the provider's answer above, at the token's audience and scope, and at the clocks",
        ),
        "GSSAPI" => finding.advice(
            "look at the principal, its keytab, and whether the broker's host name is the one of its service principal (kafka/HOST@REALM)",
        ),
        _other => finding,
    }
}

/// librdkafka says the address before each reason, and how long it took after it.
fn without_address(said: &str) -> &str {
    let text = said
        .split_once("SASL authentication error: ")
        .map_or(said, |(_, text)| text);
    text.split(" (after ").next().unwrap_or(text)
}

/// One address that works is enough to begin.
fn soften_where_another_works(seen: &Observations, found: &mut [Finding]) {
    let is_told = |one: &Bootstrap| matches!(one.asked, Some(Ok(_)));
    if !seen.bootstraps.iter().any(is_told) {
        return;
    }
    for finding in found.iter_mut().filter(|one| one.verdict == Verdict::Error) {
        finding.verdict = Verdict::Warning;
        finding.advice.insert(
            0,
            "another address works, so the client begins there; without that one it could not"
                .to_owned(),
        );
    }
}

/// Addresses that lead to different clusters.
fn clusters(seen: &Observations, found: &mut Vec<Finding>) {
    let told = seen.bootstraps.iter().filter_map(|one| {
        let cluster = one.asked.as_ref()?.as_ref().ok()?;
        Some((&one.dialed.address, cluster.id.as_deref()?))
    });
    let told: Vec<_> = told.collect();
    let Some(((first, id), rest)) = told.split_first() else {
        return;
    };
    for (address, other) in rest.iter().filter(|(_, other)| other != id) {
        let says = format!("is of cluster {other}, and {first} is of cluster {id}");
        let finding = Finding::new(Verdict::Error, Step::Cluster, address, "two_clusters", says);
        found
            .push(finding.advice(
                "a client joins whichever answers first: name brokers of one cluster only",
            ));
    }
}

/// Certificates are renewed earlier than that.
const DAYS_TO_RENEW: i32 = 14;

#[cfg(test)]
mod tests;
