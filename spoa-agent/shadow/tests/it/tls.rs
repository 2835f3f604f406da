//! Whom the follower believes.

use std::io::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use shadow::{
    Authorization, ClientCertificate, Engine, Identity, Rewrite, Route, Secret, SendError, Sender,
    Target, Trust,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tracing_subscriber::fmt::MakeWriter;

use crate::origin::{Talk, Told, config, exchange, ok, request};

struct Secured {
    port: u16,
    authority: tempfile::NamedTempFile,
    /// A certificate by the same authority, and its key.
    client: (tempfile::NamedTempFile, tempfile::NamedTempFile),
}

/// A target whose certificate for `localhost` is signed by an authority of its own.
async fn secured_target() -> Secured {
    target(false).await
}

/// One that lets in only who shows a certificate of that authority.
async fn target_that_asks() -> Secured {
    target(true).await
}

async fn target(asks: bool) -> Secured {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();

    let client_key = KeyPair::generate().unwrap();
    let client_certificate = CertificateParams::new(vec!["spoa-agent".to_owned()])
        .unwrap()
        .signed_by(&client_key, &issuer)
        .unwrap();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let verifier = if asks {
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .unwrap()
    } else {
        WebPkiClientVerifier::no_client_auth()
    };
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    tokio::spawn(async move {
        let talk = Talk::alone(|_| ok());
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, talk) = (acceptor.clone(), talk.clone());
            tokio::spawn(async move {
                // The follower may refuse us.
                if let Ok(tls) = acceptor.accept(tcp).await {
                    talk.serve(tls, 0).await;
                }
            });
        }
    });
    Secured {
        port,
        authority: file(&authority.pem()),
        client: (
            file(&client_certificate.pem()),
            file(&client_key.serialize_pem()),
        ),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn certificate(secured: &Secured, key_of: &Secured) -> ClientCertificate {
    ClientCertificate {
        certificates: secured.client.0.path().to_owned(),
        key: key_of.client.1.path().to_owned(),
    }
}

fn sender(host: &str, secured: &Secured, trust: &Trust) -> Sender {
    sender_with(host, secured, trust, None)
}

fn sender_with(
    host: &str,
    secured: &Secured,
    trust: &Trust,
    certificate: Option<ClientCertificate>,
) -> Sender {
    let rewrite = Rewrite {
        identity: Identity {
            certificate,
            ..Identity::default()
        },
        ..Rewrite::default()
    };
    let target = Target::parse(&format!("https://{host}:{}", secured.port)).unwrap();
    let route = Route::new(
        target,
        trust,
        rewrite,
        shadow::Timeouts::default(),
        shadow::AnswerLimits::default(),
        Arc::default(),
    );
    Sender::new(Arc::new(route.unwrap()))
}

#[tokio::test]
async fn a_certificate_of_the_named_authority_is_accepted_and_the_connection_kept() {
    let secured = secured_target().await;
    let trust = Trust::CaFile(secured.authority.path().to_owned());
    let mut sender = sender("localhost", &secured, &trust);
    let mut asked = request("PUT", b"/large");
    asked.body.content = vec![7; 1_000_000].into();
    for _ in 0..3 {
        assert_eq!(sender.send(&asked).await.result.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let secured = secured_target().await;
    let other = secured_target().await;
    let mut sender = sender(
        "localhost",
        &secured,
        &Trust::CaFile(other.authority.path().to_owned()),
    );
    let sent = sender.send(&request("GET", b"/")).await;
    let Err(SendError::Tls(error)) = sent.result else {
        panic!("accepted")
    };
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let secured = secured_target().await;
    let trust = Trust::CaFile(secured.authority.path().to_owned());
    let sent = sender("127.0.0.1", &secured, &trust)
        .send(&request("GET", b"/"))
        .await;
    assert!(matches!(sent.result, Err(SendError::Tls(_))));
}

#[tokio::test]
async fn any_certificate_is_accepted_only_when_asked_for() {
    let secured = secured_target().await;
    let sent = sender("127.0.0.1", &secured, &Trust::Anyone)
        .send(&request("GET", b"/"))
        .await;
    assert_eq!(sent.result.unwrap().status, 200);
    assert_eq!(Trust::default(), Trust::System);
}

#[tokio::test]
async fn a_target_that_asks_for_a_certificate_gets_the_followers() {
    let secured = target_that_asks().await;
    let trust = Trust::CaFile(secured.authority.path().to_owned());
    let own = certificate(&secured, &secured);
    own.check().unwrap();
    let mut known = sender_with("localhost", &secured, &trust, Some(own));
    for _ in 0..2 {
        let sent = known.send(&request("GET", b"/")).await;
        assert_eq!(sent.result.unwrap().status, 200);
    }
    let other = secured_target().await;
    let stranger = certificate(&other, &other);
    for certificate in [None, Some(stranger)] {
        let mut unknown = sender_with("localhost", &secured, &trust, certificate);
        // In TLS 1.3 the refusal comes after the client is through with its part.
        let refused = unknown
            .send(&request("GET", b"/"))
            .await
            .result
            .unwrap_err();
        assert!(
            matches!(refused, SendError::Tls(_) | SendError::Closed { .. }),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_certificate_with_another_key_is_found_out_before_anything_is_sent() {
    let (one, other) = (secured_target().await, secured_target().await);
    let mixed = certificate(&one, &other);
    let error = mixed.check().unwrap_err().to_string();
    assert!(error.contains(mixed.key.to_str().unwrap()), "{error}");
    let missing = ClientCertificate {
        key: "no/such/key.pem".into(),
        ..certificate(&one, &one)
    };
    for certificate in [mixed, missing] {
        let mut config = config(Target::parse("https://localhost:1").unwrap());
        config.trust = Trust::CaFile(one.authority.path().to_owned());
        config.rewrite.identity.certificate = Some(certificate);
        assert!(Engine::start(config, Arc::new(Told::default())).is_err());
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_secret_is_in_no_log_line_and_no_debug_text() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let secured = secured_target().await;
    // Down at first sight: nobody trusts it.
    let other = secured_target().await;
    let target = Target::parse(&format!("https://localhost:{}", secured.port)).unwrap();
    let mut config = config(target);
    config.trust = Trust::CaFile(other.authority.path().to_owned());
    config.rewrite.identity =
        Identity::new(Authorization::Value(Secret::new("Basic c2VjcmV0").unwrap()));
    let shown = format!("{config:?}");
    let engine = Engine::start(config, Arc::new(Told::default())).unwrap();
    engine.offer(exchange(1, 1, "/", 200)).await.unwrap();
    while !engine.is_target_down() {
        tokio::task::yield_now().await;
    }
    let shown = format!("{shown}{engine:?}");
    engine.drain(tokio::time::Instant::now()).await;
    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(log.contains("target is down"), "{log}");
    assert!(!log.contains("c2VjcmV0"), "{log}");
    assert!(!shown.contains("c2VjcmV0"), "{shown}");
}
