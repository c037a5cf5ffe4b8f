//! HTTPS: whom the probe believes, and what it says where it does not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use stealthcheck::check::{HttpProbe, Probe};
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::server::*;

/// A certificate and its key.
pub struct Identity(pub CertificateDer<'static>, pub KeyPair);

pub fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

pub fn issued(by: &CertifiedIssuer<'static, KeyPair>, params: &CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    Identity(certificate.der().clone(), key)
}

pub fn self_signed(params: &CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    Identity(params.self_signed(&key).unwrap().der().clone(), key)
}

/// A server with that certificate, and the kinds of handshakes it made.
async fn secured(identity: Identity) -> (SocketAddr, Arc<Mutex<Vec<rustls::HandshakeKind>>>) {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.1.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.0], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kinds);
    let address = serve(move |stream| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            seen.lock().unwrap().extend(stream.get_ref().1.handshake_kind());
            head(&mut stream).await;
            // Closed without close_notify, as many servers do.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nsecure").await;
            let _ = stream.flush().await;
        }
    })
    .await;
    (address, kinds)
}

async fn ask(prober: &Prober, probe: HttpProbe) -> Observation {
    prober.run(&Probe::Http(Arc::new(probe)), AMPLE).await
}

fn at(address: SocketAddr) -> HttpProbe {
    get(format!("https://localhost:{}/", address.port()))
}

/// What is seen of a certificate by one who trusts `ours`, and that it passes where nobody asks.
async fn judged(ours: &CertifiedIssuer<'static, KeyPair>, identity: Identity) -> Observation {
    let (server, _) = secured(identity).await;
    let prober = Prober::trusting(vec![ours.der().clone()]);
    let mut careless = at(server);
    careless.verify_tls = false;
    passing(&ask(&prober, careless).await, "200 OK");
    ask(&prober, at(server)).await
}

#[tokio::test]
async fn a_good_certificate_passes_and_is_shown_every_time() {
    let ours = authority("ours");
    let (server, kinds) = secured(issued(&ours, &params(&["localhost", "127.0.0.1"]))).await;
    let prober = Prober::trusting(vec![ours.der().clone()]);
    passing(&ask(&prober, at(server).containing("secure")).await, "200 OK");
    passing(&ask(&prober, get(format!("https://{server}/")).matching("^secure$")).await, "200 OK");
    passing(&ask(&prober, at(server)).await, "200 OK");
    assert_eq!(*kinds.lock().unwrap(), [rustls::HandshakeKind::Full; 3]);
}

#[tokio::test]
async fn an_expired_certificate_fails_with_its_day() {
    let ours = authority("ours");
    let mut params = params(&["localhost"]);
    params.not_after = date_time_ymd(2024, 2, 29);
    failing(&judged(&ours, issued(&ours, &params)).await, "the certificate expired on 2024-02-29 00:00 UTC");
}

#[tokio::test]
async fn a_certificate_of_the_future_fails_with_its_day() {
    let ours = authority("ours");
    let mut params = params(&["localhost"]);
    params.not_before = date_time_ymd(4000, 1, 1);
    let expected = "the certificate is not valid before 4000-01-01 00:00 UTC";
    failing(&judged(&ours, issued(&ours, &params)).await, expected);
}

#[tokio::test]
async fn a_wrong_name_fails_with_the_names_it_has() {
    let ours = authority("ours");
    let expected = "the certificate is not for localhost, but for gru.example.org, *.example.net, 192.0.2.1";
    let names = params(&["gru.example.org", "*.example.net", "192.0.2.1"]);
    failing(&judged(&ours, issued(&ours, &names)).await, expected);
    let many = params(&["a.example", "b.example", "c.example", "d.example", "e.example", "f.example"]);
    let seen = judged(&ours, issued(&ours, &many)).await;
    assert!(seen.text().ends_with("e.example, 1 more"), "{seen:?}");
    let expected = "the certificate is not for localhost, but for no name at all";
    failing(&judged(&ours, issued(&ours, &params(&[]))).await, expected);
}

#[tokio::test]
async fn a_self_signed_certificate_fails_as_such() {
    let ours = authority("ours");
    let mut params = params(&["localhost"]);
    let expected = "the certificate is self-signed";
    failing(&judged(&ours, self_signed(&params)).await, expected);
    // As `openssl req -x509` makes them.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    failing(&judged(&ours, self_signed(&params)).await, expected);
}

#[tokio::test]
async fn an_unknown_issuer_is_named() {
    let (ours, theirs) = (authority("ours"), authority("Their CA\u{1b}[2J"));
    let expected = "the certificate is issued by \"Their CA\\u{1b}[2J\", which this machine does not trust";
    failing(&judged(&ours, issued(&theirs, &params(&["localhost"]))).await, expected);
}

#[tokio::test]
async fn what_does_not_speak_tls_fails() {
    let ours = authority("ours");
    let prober = Prober::trusting(vec![ours.der().clone()]);
    let plain = serve(|mut stream| async move {
        let _ = stream.write_all(page("400 Bad Request", "").as_bytes()).await;
        hang(stream).await;
    })
    .await;
    failing(&ask(&prober, at(plain)).await, "the server does not speak TLS");
    let closing = serve(|stream| async move {
        stream.readable().await.unwrap();
        let mut hello = [0; 4096];
        let _ = stream.try_read(&mut hello);
    })
    .await;
    failing(&ask(&prober, at(closing)).await, "TLS handshake failed: connection closed");
    // An alert: fatal, handshake_failure.
    let refusing = serve(|mut stream| async move {
        let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await;
        hang(stream).await;
    })
    .await;
    failing(&ask(&prober, at(refusing)).await, "the server rejected the TLS handshake: HandshakeFailure");
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_at_the_deadline() {
    let ours = authority("ours");
    let prober = Prober::trusting(vec![ours.der().clone()]);
    let server = serve(hang).await;
    let seen = prober.run(&Probe::Http(Arc::new(at(server))), BRIEF).await;
    failing(&seen, "no answer within 300ms (in the TLS handshake)");
}

#[tokio::test]
async fn going_down_from_https_is_allowed_but_told() {
    let ours = authority("ours");
    let plain = answering(page("200 OK", "")).await;
    let identity = issued(&ours, &params(&["localhost"]));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.1.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.0], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            head(&mut stream).await;
            let answer =
                format!("HTTP/1.1 301 Moved\r\nLocation: http://{plain}/\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    let seen = ask(&Prober::trusting(vec![ours.der().clone()]), at(server).following()).await;
    passing(&seen, &format!("200 OK after a redirect to http://{plain}/, from https down to http"));
}
