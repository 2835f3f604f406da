//! Whom the follower believes.

use std::io::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use shadow::{Engine, Rewrite, Route, Secret, SendError, Sender, Target, Trust};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tracing_subscriber::fmt::MakeWriter;

use crate::origin::{Talk, Told, config, exchange, ok, request};

struct Secured {
    port: u16,
    authority: tempfile::NamedTempFile,
}

/// A target whose certificate for `localhost` is signed by an authority of its own.
async fn secured_target() -> Secured {
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

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
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
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(authority.pem().as_bytes()).unwrap();
    Secured {
        port,
        authority: file,
    }
}

fn sender(host: &str, secured: &Secured, trust: &Trust) -> Sender {
    let target = Target::parse(&format!("https://{host}:{}", secured.port)).unwrap();
    let route = Route::new(
        target,
        trust,
        Rewrite::default(),
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
    config.rewrite.authorization = Some(Secret::new("Basic c2VjcmV0").unwrap());
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
