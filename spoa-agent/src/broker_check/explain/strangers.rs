//! Somebody answers, and not as the client expects.

use crate::broker_check::address::Address;
use crate::broker_check::dial::Speaks;
use crate::broker_check::finding::{Finding, Step, Verdict};
use crate::broker_check::greeting::{Login, Stranger};
use crate::broker_check::seen::Observations;

/// `step` is where the address came from. What concerns TLS is told as such when it was the configuration.
pub(super) fn explain(
    seen: &Observations,
    address: &Address,
    speaks: &Speaks,
    step: Step,
) -> Finding {
    let tls = match step {
        Step::Listener => Step::Listener,
        _bootstrap => Step::Tls,
    };
    let has_login = seen.client.mechanism.is_some();
    let error = |step, code, says: String| Finding::new(Verdict::Error, step, address, code, says);
    match speaks {
        Speaks::Kafka(_) => Finding::new(Verdict::Ok, step, address, "connected", "a broker answers"),
        Speaks::Tls => {
            let word = if has_login { "sasl-tls" } else { "tls" };
            error(tls, "tls_expected", "the port speaks TLS, and the client does not".to_owned()).advice(format!(
                "set `kafka.security = \"{word}\"` (and `kafka.ca_file`), or use the port of a listener that \
                 `listener.security.protocol.map` maps to PLAINTEXT or SASL_PLAINTEXT"
            ))
        }
        Speaks::Plaintext(login) => {
            let word = match login {
                Login::Sasl(_) => "sasl-plaintext",
                _none if has_login => "sasl-plaintext",
                _none => "plaintext",
            };
            error(tls, "tls_not_expected", "a broker answers without TLS, and the client speaks TLS".to_owned()).advice(format!(
                "use the port of a listener that `listener.security.protocol.map` maps to SSL or SASL_SSL; with \
                 `kafka.security = \"{word}\"` everybody on the way could read along"
            ))
        }
        Speaks::WantsCertificate(said) if seen.client.has_certificate => {
            let says = format!("the broker does not take the client's certificate: {said}");
            error(tls, "client_certificate_refused", says).advice(
                "it must be signed by an authority that the broker trusts (`ssl.truststore.location`), and be in its time",
            )
        }
        Speaks::WantsCertificate(_said) => {
            let says = "the broker wants a certificate of the client (`ssl.client.auth=required`)".to_owned();
            error(tls, "client_certificate_wanted", says)
                .advice("set `kafka.client_cert_file` and `kafka.client_key_file`")
        }
        Speaks::OurTls(why) => error(tls, "tls_setup", why.clone()),
        Speaks::BrokenTls(why) => error(tls, "tls_failed", format!("TLS fails: {why}")).advice(
            "if it is a broker, compare its `ssl.enabled.protocols` and `ssl.cipher.suites` with what this machine has",
        ),
        Speaks::Stranger(stranger) => error(step, "not_kafka", format!("no broker answers: {}", who(stranger)))
            .advice("look which program listens there, and whether a proxy stands before the broker"),
    }
}

fn who(stranger: &Stranger) -> String {
    match stranger {
        Stranger::Tls => "the port speaks TLS".to_owned(),
        Stranger::Http => "the port speaks HTTP".to_owned(),
        Stranger::Closed => "the connection is closed at the first word".to_owned(),
        Stranger::Silent => "nothing is said in time".to_owned(),
        Stranger::WantsCertificate(said) | Stranger::Other(said) => said.clone(),
    }
}
