//! Certificates that mean harm, or are broken past telling.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use stealthcheck::check::Probe;
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::certificates::at;
use super::hostile::sentence;
use super::server::*;
use super::tls::*;

/// Shows whatever it is given, unread.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A server that shows these bytes for certificates.
async fn showing(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> SocketAddr {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = ring::sign::any_supported_type(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(CertifiedKey::new(chain, key)))));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.write_all(page("200 OK", "").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

/// What the `tls` and the `http` probe see of such a server, who trust `ours`.
async fn seen_of(
    ours: &CertifiedIssuer<'static, KeyPair>,
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
) -> [Observation; 2] {
    let server = showing(chain, key).await;
    let prober = Prober::trusting(vec![ours.der().clone()]);
    let url = format!("https://localhost:{}/", server.port());
    let begun = Instant::now();
    let seen = [
        prober.run(&Probe::Tls(Arc::new(at(server))), AMPLE).await,
        prober.run(&Probe::Http(Arc::new(get(url))), AMPLE).await,
    ];
    assert!(begun.elapsed() < AMPLE, "it takes all the time there is: {:?}", begun.elapsed());
    for seen in &seen {
        sentence(seen);
    }
    seen
}

/// Neither of them passes, and it is the server's fault.
async fn refused(
    ours: &CertifiedIssuer<'static, KeyPair>,
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
) -> [Observation; 2] {
    let seen = seen_of(ours, chain, key).await;
    for seen in &seen {
        assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
    }
    seen
}

#[tokio::test]
async fn what_is_no_certificate_is_told_and_breaks_nothing() {
    let ours = authority("ours");
    let Identity(good, key) = issued(&ours, &params(&["localhost"]));
    let whole = good.as_ref().to_vec();
    let mut broken: Vec<Vec<u8>> =
        vec![vec![0], vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff], vec![0xff; 300], vec![0x30; 5000]];
    broken.extend((1..whole.len()).step_by(37).map(|length| whole[..length].to_vec()));
    broken.extend((0..whole.len()).step_by(23).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x81;
        flipped
    }));
    for der in broken {
        let shown = der.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        for seen in refused(&ours, vec![CertificateDer::from(der)], &key).await {
            assert!(!seen.text().contains("does not speak TLS"), "{shown}...: {seen:?}");
        }
    }
    for seen in refused(&ours, Vec::new(), &key).await {
        sentence(&seen);
    }
}

fn named(names: &[&str], common_name: &str) -> CertificateParams {
    let mut params = params(&[]);
    params.subject_alt_names =
        names.iter().map(|name| SanType::DnsName(Ia5String::try_from(*name).unwrap())).collect();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

#[tokio::test]
async fn names_that_would_lie_to_a_reader_come_out_inert_and_are_nobody_elses() {
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\nBcc: all@example.org\u{202e}gro.elpmaxe";
    let theirs = authority(evil);
    let ours = authority("ours");
    for names in [
        // A name that ends, for who reads it in C, where it should.
        &["localhost\0.evil.example"][..],
        &["\0localhost", "localhost ", " localhost", "localhost\r\n", "localhost."],
        &["\u{1b}[31mred\u{1b}[0m\r\nSubject: all is well"],
        &["*", "*.", "*.*", "..", "xn--", "-", &"a".repeat(5000)],
    ] {
        for by in [&ours, &theirs] {
            let Identity(leaf, key) = issued(by, &named(names, evil));
            for seen in seen_of(&ours, vec![leaf, by.der().clone()], &key).await {
                let passes = matches!(seen, Observation::Passing { .. });
                // A name may end in the dot of the root.
                assert!(!passes || names.contains(&"localhost."), "{names:?}: {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn thousands_of_names_are_counted_and_not_listed() {
    let ours = authority("ours");
    let mut names: Vec<String> = (0..2000).map(|n| format!("n{n}.example.org")).collect();
    names.push("localhost".to_owned());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Identity(leaf, key) = issued(&ours, &params(&names));
    let [tls, http] = seen_of(&ours, vec![leaf], &key).await;
    assert!(tls.text().contains("n4.example.org, 1996 more"), "{tls:?}");
    passing(&http, "200 OK");
    let Identity(leaf, key) = issued(&ours, &params(&names[..2000]));
    for seen in refused(&ours, vec![leaf], &key).await {
        assert!(
            seen.text().contains("the certificate is not for localhost, but for n0.example.org"),
            "{seen:?}"
        );
        assert!(seen.text().contains("1995 more"), "{seen:?}");
    }
}

#[tokio::test]
async fn chains_without_end_are_given_up() {
    let ours = authority("ours");
    let Identity(leaf, key) = issued(&ours, &params(&["localhost"]));
    // As many as a handshake may bear, and more.
    let junk = |how_many: usize| {
        let mut chain = vec![leaf.clone()];
        chain.extend((0..how_many).map(|_| leaf.clone()));
        chain
    };
    let [tls, _] = seen_of(&ours, junk(60), &key).await;
    assert!(matches!(tls, Observation::Passing { .. }), "what is not needed is not looked at: {tls:?}");
    for seen in refused(&ours, junk(2000), &key).await {
        assert!(seen.text().contains("more certificates than a client takes"), "{seen:?}");
    }
}

#[tokio::test]
async fn a_maze_of_authorities_is_not_walked_to_its_end() {
    let ours = authority("ours");
    // All have the same name and sign each other, so each may be the issuer of each; none leads anywhere.
    let mut params_of_all = CertificateParams::default();
    params_of_all.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params_of_all.distinguished_name.push(DnType::CommonName, "maze");
    let some: Vec<CertifiedIssuer<'static, KeyPair>> = (0..12)
        .map(|_| CertifiedIssuer::self_signed(params_of_all.clone(), KeyPair::generate().unwrap()).unwrap())
        .collect();
    let Identity(leaf, key) = issued(&some[0], &params(&["localhost"]));
    let mut chain = vec![leaf];
    for (i, issuer) in some.iter().enumerate() {
        for other in some.iter().skip(i % 3).step_by(3) {
            let certificate = params_of_all.signed_by(other.key(), issuer).unwrap();
            chain.push(certificate.der().clone());
        }
    }
    let begun = Instant::now();
    refused(&ours, chain, &key).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn dates_before_all_calendars_and_after_them_are_told() {
    let ours = authority("ours");
    let dated = |from: i32, until: i32| {
        let mut params = params(&["localhost"]);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        issued(&ours, &params)
    };
    for (from, until) in [(1, 1), (1, 1949), (1, 1970), (1969, 1971), (9999, 9999), (9999, 1)] {
        let Identity(leaf, key) = dated(from, until);
        for seen in refused(&ours, vec![leaf], &key).await {
            assert!(seen.text().contains("certificate"), "{from} to {until}: {seen:?}");
        }
    }
    let Identity(leaf, key) = dated(1, 9999);
    for seen in seen_of(&ours, vec![leaf], &key).await {
        sentence(&seen);
    }
}
