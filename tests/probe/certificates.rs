//! The `tls` probe: what it says of a server's certificate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use stealthcheck::check::{HostPort, Probe, TlsProbe};
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::server::*;
use super::tls::*;

pub const DAY: Duration = Duration::from_hours(24);

/// A probe of `localhost` at that address.
pub fn at(address: SocketAddr) -> TlsProbe {
    TlsProbe {
        address: HostPort::parse(&address.to_string()).unwrap(),
        server_name: "localhost".to_owned(),
        valid_for: 14 * DAY,
        ca_file: None,
        starttls: None,
        file: None,
    }
}

/// What a prober sees that trusts `ours` besides the machine's authorities.
pub async fn see_by(ours: &CertifiedIssuer<'static, KeyPair>, probe: TlsProbe) -> Observation {
    Prober::trusting(vec![ours.der().clone()]).run(&Probe::Tls(Arc::new(probe)), AMPLE).await
}

/// A certificate's parameters that are valid from `from` days from now to `until` days and an hour from now; and the
/// day of that end.
pub fn lasting(names: &[&str], from: i64, until: i64) -> (CertificateParams, String) {
    let now = Timestamp::now().as_second();
    let date = |days: i64, more: i64| {
        let since = u64::try_from(now + days * 86_400 + more).unwrap();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(since)
    };
    let mut params = params(names);
    params.not_before = date(from, 0);
    params.not_after = date(until, 3600);
    let end = Timestamp::from_second(now).unwrap() + SignedDuration::from_secs(until * 86_400 + 3600);
    (params, end.strftime("%Y-%m-%d").to_string())
}

/// What a TLS server shows: a chain and the key of its first certificate.
pub fn config(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// A TLS server on a connection: shakes hands, and returns what it was told until the other side closed, in good order
/// or not.
pub async fn greet(stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<Vec<u8>> {
    let mut stream = TlsAcceptor::from(config).accept(stream).await?;
    let mut told = Vec::new();
    stream.read_to_end(&mut told).await?;
    stream.shutdown().await?;
    Ok(told)
}

/// A server that shows this certificate alone.
pub async fn showing(identity: &Identity) -> SocketAddr {
    let config = config(vec![identity.0.clone()], &identity.1);
    serve(move |stream| {
        let config = Arc::clone(&config);
        async move {
            let _ = greet(stream, config).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_good_certificate_passes_with_its_days_its_issuer_and_its_names() {
    let ours = authority("R11");
    let (params, end) = lasting(&["localhost", "lf-proxy.example.org"], -28, 62);
    let server = showing(&issued(&ours, &params)).await;
    let seen = see_by(&ours, at(server)).await;
    passing(
        &seen,
        &format!("valid for 62 days (until {end}), issued by R11, for localhost, lf-proxy.example.org"),
    );
    // By address, for a name that stands in no DNS.
    let probe = TlsProbe { server_name: "LF-PROXY.example.org".to_owned(), ..at(server) };
    assert!(matches!(see_by(&ours, probe).await, Observation::Passing { .. }));
}

#[tokio::test]
async fn a_certificate_fails_as_long_before_its_end_as_is_demanded() {
    let ours = authority("R11");
    let (params, end) = lasting(&["localhost"], -60, 10);
    let server = showing(&issued(&ours, &params)).await;
    let seen = see_by(&ours, at(server)).await;
    let text = seen.text();
    assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
    assert!(
        text.starts_with(&format!("the certificate is valid for no more than 10 days (until {end} ")),
        "{text}"
    );
    assert!(text.ends_with(" UTC), less than 14d; issued by R11, for localhost"), "{text}");
    for (valid_for, passes) in [(9 * DAY, true), (10 * DAY, true), (11 * DAY, false), (Duration::ZERO, true)]
    {
        let seen = see_by(&ours, TlsProbe { valid_for, ..at(server) }).await;
        assert_eq!(matches!(seen, Observation::Passing { .. }), passes, "{valid_for:?}: {seen:?}");
    }
    // The last hours are counted as such.
    let (params, _) = lasting(&["localhost"], -60, 1);
    let seen = see_by(&ours, at(showing(&issued(&ours, &params)).await)).await;
    let hours = "the certificate is valid for no more than 1d";
    assert!(seen.text().starts_with(hours), "{seen:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_apart() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let end = "valid until 4096-01-01";
    let dated = |from: (i32, u8, u8), until: (i32, u8, u8)| {
        let mut params = params(&["localhost"]);
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        params
    };

    let expired = see_by(&ours, at(showing(&issued(&ours, &dated((2020, 1, 1), (2024, 2, 29)))).await)).await;
    let days = (Timestamp::now().as_second() - 1_709_164_800) / 86_400;
    failing(
        &expired,
        &format!(
            "the certificate expired on 2024-02-29 00:00 UTC, {days} days ago; issued by ours, for localhost"
        ),
    );
    let early = see_by(&ours, at(showing(&issued(&ours, &dated((4000, 1, 1), (4096, 1, 1)))).await)).await;
    failing(
        &early,
        "the certificate is not valid before 4000-01-01 00:00 UTC; issued by ours, for localhost",
    );

    let other = issued(&ours, &params(&["gru.example.org", "*.example.net", "192.0.2.1"]));
    let wrong_name = see_by(&ours, at(showing(&other).await)).await;
    failing(
        &wrong_name,
        &format!(
            "the certificate is not for localhost, but for gru.example.org, *.example.net, 192.0.2.1; issued by ours, {end}"
        ),
    );

    let mut own = params(&["localhost"]);
    for ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        own.is_ca = ca;
        let alone = see_by(&ours, at(showing(&self_signed(&own)).await)).await;
        failing(&alone, &format!("the certificate is self-signed; for localhost, {end}"));
    }

    let stranger = see_by(&ours, at(showing(&issued(&theirs, &params(&["localhost"]))).await)).await;
    failing(
        &stranger,
        &format!(
            "the certificate is issued by theirs, which this machine does not trust (the server sends none of the \
             certificates between); for localhost, {end}"
        ),
    );
}

#[tokio::test]
async fn what_stands_between_server_and_authority_is_told_apart_from_its_own() {
    let ours = authority("ours");
    let between = |until: i32| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "between");
        params.not_after = date_time_ymd(until, 1, 1);
        CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &ours).unwrap()
    };
    let chained = async |by: &CertifiedIssuer<'static, KeyPair>| {
        let Identity(leaf, key) = issued(by, &params(&["localhost"]));
        let config = config(vec![leaf, by.der().clone()], &key);
        let server = serve(move |stream| {
            let config = Arc::clone(&config);
            async move {
                let _ = greet(stream, config).await;
            }
        });
        see_by(&ours, at(server.await)).await
    };
    assert!(matches!(chained(&between(4096)).await, Observation::Passing { .. }));
    failing(
        &chained(&between(2024)).await,
        "a certificate between the server's own and its authority's expired on 2024-01-01 00:00 UTC; issued by between, \
         for localhost, valid until 4096-01-01",
    );
}

/// A folder with a PEM file of these certificates.
pub fn pem(certificates: &[&CertificateDer<'static>]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.pem");
    write_pem(&path, certificates);
    (folder, path)
}

pub fn write_pem(path: &Path, certificates: &[&CertificateDer<'static>]) {
    let mut text = String::new();
    for der in certificates {
        // Its lines need not be short to be read.
        let base64 = base64(der);
        text.push_str(&format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n"));
    }
    std::fs::write(path, text).unwrap();
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        for digit in 0..4 {
            let digit = if digit <= three.len() { DIGITS[bits >> (18 - 6 * digit) & 63] } else { b'=' };
            text.push(char::from(digit));
        }
    }
    text
}

#[tokio::test]
async fn with_a_ca_file_nobody_else_is_trusted() {
    let (machines, own, theirs) = (authority("the machine's"), authority("own"), authority("theirs"));
    let (_folder, file) = pem(&[theirs.der(), own.der()]);
    let with_file = |server| TlsProbe { ca_file: Some(file.clone()), ..at(server) };
    let good = showing(&issued(&own, &params(&["localhost"]))).await;
    assert!(matches!(see_by(&machines, with_file(good)).await, Observation::Passing { .. }));
    let other = showing(&issued(&machines, &params(&["localhost"]))).await;
    failing(
        &see_by(&machines, with_file(other)).await,
        &format!(
            "the certificate is issued by the machine's, which {} does not have (the server sends none of the certificates \
             between); for localhost, valid until 4096-01-01",
            file.display()
        ),
    );
}

#[tokio::test]
async fn a_certificate_in_the_ca_file_is_trusted_as_it_is_but_for_its_name_and_dates() {
    let machines = authority("the machine's");
    let mut own = params(&["localhost"]);
    let judged = async |params: &CertificateParams| {
        let identity = self_signed(params);
        let (_folder, file) = pem(&[&identity.0]);
        see_by(&machines, TlsProbe { ca_file: Some(file), ..at(showing(&identity).await) }).await
    };
    for ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        own.is_ca = ca;
        let seen = judged(&own).await;
        assert!(matches!(seen, Observation::Passing { .. }), "{seen:?}");
    }
    let (mut late, mut early) = (params(&["localhost"]), params(&["localhost"]));
    late.not_after = date_time_ymd(2024, 1, 1);
    early.not_before = date_time_ymd(4000, 1, 1);
    for (params, wrong) in [
        (late, "expired on 2024-01-01"),
        (early, "is not valid before 4000"),
        (params(&["gru"]), "is not for localhost, but for gru;"),
    ] {
        let seen = judged(&params).await;
        assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
        assert!(seen.text().starts_with(&format!("the certificate {wrong}")), "{seen:?}");
    }
}

#[tokio::test]
async fn a_ca_file_that_is_of_no_use_is_no_word_about_the_server() {
    let ours = authority("ours");
    let server = showing(&issued(&ours, &params(&["localhost"]))).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let with_file = || TlsProbe { ca_file: Some(file.clone()), ..at(server) };
    let path = file.display().to_string();
    unknown(&see_by(&ours, with_file()).await, &format!("{path} does not exist"));
    std::fs::write(&file, "no certificate").unwrap();
    unknown(&see_by(&ours, with_file()).await, &format!("{path} has no certificate in it (PEM)"));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    unknown(&see_by(&ours, with_file()).await, &format!("{path} has no certificate that could be trusted"));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    let seen = see_by(&ours, with_file()).await;
    assert!(seen.text().starts_with(&format!("{path} is no proper PEM: ")), "{seen:?}");
    // Where nobody listens, that is what is wrong, whatever the file is like.
    let probe = TlsProbe { address: at(closed_port().await).address, ..with_file() };
    failing(&see_by(&ours, probe).await, "connection refused");
}

#[tokio::test]
async fn the_server_is_left_in_good_order_also_by_who_does_not_believe_it() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    for issuer in [&ours, &theirs] {
        let identity = issued(issuer, &params(&["localhost"]));
        let config = config(vec![identity.0.clone()], &identity.1);
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let server = serve(move |stream| {
            let (config, tell) = (Arc::clone(&config), tell.clone());
            async move {
                let _ = tell.send(greet(stream, config).await.map_err(|error| error.to_string()));
            }
        })
        .await;
        see_by(&ours, at(server)).await;
        assert_eq!(told.recv().await, Some(Ok(Vec::new())), "a close_notify, and no alert and no reset");
    }
}

#[tokio::test]
async fn a_server_that_does_not_close_costs_neither_the_pass_nor_its_time() {
    let ours = authority("ours");
    let Identity(leaf, key) = issued(&ours, &params(&["localhost"]));
    let config = config(vec![leaf], &key);
    let server = serve(move |stream| {
        let acceptor = TlsAcceptor::from(Arc::clone(&config));
        async move {
            let stream = acceptor.accept(stream).await;
            std::future::pending::<()>().await;
            drop(stream);
        }
    })
    .await;
    let prober = Prober::trusting(vec![ours.der().clone()]);
    let probe = Probe::Tls(Arc::new(at(server)));
    let began = Instant::now();
    let Observation::Passing { latency, .. } = prober.run(&probe, AMPLE).await else { panic!("no pass") };
    assert!(began.elapsed() - latency > Duration::from_millis(400), "the goodbye counts: {latency:?}");
    // Within less than the goodbye may take. On a busy machine the handshake alone may take longer than that.
    let mut tries = 0;
    while !matches!(prober.run(&probe, Duration::from_millis(450)).await, Observation::Passing { .. }) {
        tries += 1;
        assert!(tries < 20, "the goodbye is waited for beyond the deadline");
    }
}

#[tokio::test]
async fn the_name_is_sent_to_servers_that_have_several() {
    let ours = authority("ours");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    let server = serve(move |stream| {
        let record = Arc::clone(&record);
        async move {
            let acceptor = tokio_rustls::LazyConfigAcceptor::new(Default::default(), stream);
            let hello = acceptor.await.unwrap();
            record.lock().unwrap().push(hello.client_hello().server_name().map(str::to_owned));
        }
    })
    .await;
    see_by(&ours, TlsProbe { server_name: "lf-proxy.example.org".to_owned(), ..at(server) }).await;
    see_by(&ours, TlsProbe { server_name: "127.0.0.1".to_owned(), ..at(server) }).await;
    // RFC 6066: names, and not addresses.
    assert_eq!(*asked.lock().unwrap(), [Some("lf-proxy.example.org".to_owned()), None]);
}

#[tokio::test]
async fn what_makes_no_handshake_fails() {
    let ours = authority("ours");
    failing(&see_by(&ours, at(closed_port().await)).await, "connection refused");
    let plain = serve(|mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").await;
        hang(stream).await;
    })
    .await;
    failing(&see_by(&ours, at(plain)).await, "the server does not speak TLS");
    let closing = serve(|stream| async move { drop(stream) }).await;
    let seen = see_by(&ours, at(closing)).await;
    assert!(seen.text().starts_with("TLS handshake failed: connection "), "{seen:?}");
    let silent = serve(hang).await;
    let seen = Prober::new().run(&Probe::Tls(Arc::new(at(silent))), BRIEF).await;
    failing(&seen, "no answer within 300ms (in the TLS handshake)");
}
