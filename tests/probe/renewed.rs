//! The `tls` probe with `file`: what is served against what is on disk.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use stealthcheck::check::TlsProbe;
use stealthcheck::verdict::Observation;

use super::certificates::*;
use super::server::*;
use super::tls::*;

/// What is seen of a server with one certificate and a file with another.
struct Scene {
    ours: CertifiedIssuer<'static, KeyPair>,
    served: Identity,
    served_end: String,
    folder: tempfile::TempDir,
}

impl Scene {
    /// The server's certificate is valid for so many days.
    fn serving(days: i64) -> Self {
        let ours = authority("R11");
        let (params, served_end) = lasting(&["localhost"], days - 90, days);
        Self { served: issued(&ours, &params), ours, served_end, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("fullchain.pem")
    }

    async fn see(&self) -> Observation {
        let server = showing(&self.served).await;
        see_by(&self.ours, TlsProbe { file: Some(self.file()), ..at(server) }).await
    }

    /// With this certificate, and its issuer's after it, in the file.
    async fn with(&self, params: &CertificateParams) -> Observation {
        let on_disk = issued(&self.ours, params);
        write_pem(&self.file(), &[&on_disk.0, self.ours.der()]);
        self.see().await
    }
}

#[tokio::test]
async fn a_certificate_that_is_served_as_it_is_on_disk_passes() {
    let scene = Scene::serving(62);
    write_pem(&scene.file(), &[&scene.served.0, scene.ours.der()]);
    let end = &scene.served_end;
    passing(&scene.see().await, &format!("valid for 62 days (until {end}), issued by R11, for localhost"));
}

#[tokio::test]
async fn renewed_but_not_served_is_a_failure_of_its_own() {
    let (renewed, end) = lasting(&["localhost"], -1, 89);
    // Long before the end of the old one, and when it has nearly come.
    for days in [62, 5] {
        let scene = Scene::serving(days);
        let reason = format!(
            "a renewed certificate is on disk (valid until {end}), but the server still serves the one valid until {}: \
             restart it",
            scene.served_end
        );
        failing(&scene.with(&renewed).await, &reason);
    }
    // Renewed is what was issued later, even if for a shorter time.
    let scene = Scene::serving(62);
    let (renewed, _) = lasting(&["localhost"], -1, 47);
    let seen = scene.with(&renewed).await;
    assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
    // Also one that ends soon, where the old one ends sooner.
    let scene = Scene::serving(2);
    let (renewed, _) = lasting(&["localhost"], -1, 5);
    let seen = scene.with(&renewed).await;
    assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
    // And where the old one is over, the first thing to say is that.
    let scene = Scene::serving(-3);
    let (renewed, end) = lasting(&["localhost"], -1, 89);
    let seen = scene.with(&renewed).await;
    assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
    let tail = format!(
        "; issued by R11, for localhost; a renewed one is on disk (valid until {end}), but the server does not serve it: \
         restart it"
    );
    assert!(
        seen.text().starts_with("the certificate expired on ") && seen.text().ends_with(&tail),
        "{seen:?}"
    );
}

#[tokio::test]
async fn what_is_on_disk_and_no_renewal_is_no_failure() {
    let scene = Scene::serving(62);
    let well = format!("valid for 62 days (until {}), issued by R11, for localhost", scene.served_end);
    // Issued earlier; issued earlier and over.
    for (from, until) in [(-40, 80), (-90, -1)] {
        let (params, _) = lasting(&["localhost"], from, until);
        passing(&scene.with(&params).await, &format!("{well}; the one on disk is older"));
    }
    // Issued later, and over all the same: a restart would only make it worse.
    let (params, _) = lasting(&["localhost"], -10, -2);
    passing(&scene.with(&params).await, &format!("{well}; the one on disk is older"));
    // Issued later, and to be complained of as soon as it is served.
    let (params, end) = lasting(&["localhost"], -1, 5);
    passing(&scene.with(&params).await, &format!("{well}; the one on disk ends sooner ({end})"));
    let (params, _) = lasting(&["localhost"], 3, 90);
    let seen = scene.with(&params).await;
    assert!(matches!(seen, Observation::Passing { .. }), "{seen:?}");
    assert!(seen.text().starts_with(&format!("{well}; the one on disk is not valid before ")), "{seen:?}");
}

#[tokio::test]
async fn a_certificate_that_nobody_has_renewed_is_nothing_that_a_restart_mends() {
    let scene = Scene::serving(5);
    write_pem(&scene.file(), &[&scene.served.0]);
    let seen = scene.see().await;
    assert!(matches!(seen, Observation::NotRestartable { .. }), "{seen:?}");
    assert!(seen.text().starts_with("the certificate is valid for no more than 5 days"), "{seen:?}");
    // Nor is one that is wrong from the start.
    let mut scene = Scene::serving(62);
    let (params, end) = lasting(&["gru"], -28, 62);
    scene.served = issued(&scene.ours, &params);
    let (older, _) = lasting(&["localhost"], -40, 62);
    let reason = "the certificate is not for localhost, but for gru; issued by R11, valid until ";
    incurable(&scene.with(&older).await, &format!("{reason}{end}"));
    // Nor can it be known where the file cannot be seen.
    std::fs::remove_file(scene.file()).unwrap();
    let unseen =
        format!("; whether it has been renewed is not known: {} does not exist", scene.file().display());
    incurable(&scene.see().await, &format!("{reason}{end}{unseen}"));
}

#[tokio::test]
async fn a_file_that_cannot_be_compared_is_no_word_about_the_server() {
    let scene = Scene::serving(62);
    let path = scene.file().display().to_string();
    unknown(&scene.see().await, &format!("{path} does not exist"));
    std::fs::write(scene.file(), "").unwrap();
    unknown(&scene.see().await, &format!("{path} has no certificate in it (PEM)"));
    let (others, _) = lasting(&["gru.example.org"], -1, 89);
    unknown(
        &scene.with(&others).await,
        &format!(
            "the certificate in {path} is not for localhost, but for gru.example.org: it is none that this server is to serve"
        ),
    );
    forbidden(&scene).await;
}

/// As under /etc/letsencrypt/live, which only root may enter.
async fn forbidden(scene: &Scene) {
    let shut =
        |mode| std::fs::set_permissions(scene.folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    shut(0);
    // For root there are no closed doors.
    if !Path::new(&scene.file()).exists() {
        let seen = scene.see().await;
        assert!(matches!(seen, Observation::Unknown { .. }), "{seen:?}");
        assert!(
            seen.text().contains("cannot be read: permission denied; let stealthcheck's user through"),
            "{seen:?}"
        );
    }
    shut(0o700);
}

/// Shows those who can do with an elliptic curve one certificate, and everybody else another.
#[derive(Debug)]
struct ByKey {
    curve: Arc<CertifiedKey>,
    other: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ByKey {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = self.curve.key.choose_scheme(hello.signature_schemes()).is_some();
        Some(Arc::clone(if fits { &self.curve } else { &self.other }))
    }
}

#[tokio::test]
async fn a_server_with_two_certificates_serves_the_one_on_disk_if_it_is_either() {
    let ours = authority("R11");
    let identity = |algorithm, from: i64| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let (params, _) = lasting(&["localhost"], from, 60);
        Identity(params.signed_by(&key, &ours).unwrap().der().clone(), key)
    };
    let certified = |identity: &Identity| {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.1.serialize_der()));
        Arc::new(CertifiedKey::new(vec![identity.0.clone()], any_supported_type(&key).unwrap()))
    };
    let curve = identity(&PKCS_ECDSA_P256_SHA256, -30);
    assert_eq!(curve.1.algorithm(), &PKCS_ECDSA_P256_SHA256);
    // rcgen on ring makes no RSA keys; any other kind of key stands for it.
    let (other, renewed) = (identity(&rcgen::PKCS_ED25519, -10), identity(&rcgen::PKCS_ED25519, -1));
    let both = ByKey { curve: certified(&curve), other: certified(&other) };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(both));
    let config = Arc::new(config);
    let server = serve(move |stream| {
        let config = Arc::clone(&config);
        async move {
            let _ = greet(stream, config).await;
        }
    })
    .await;
    for (on_disk, passes) in [(&curve, true), (&other, true), (&renewed, false)] {
        let (_folder, file) = pem(&[&on_disk.0]);
        let seen = see_by(&ours, TlsProbe { file: Some(file), ..at(server) }).await;
        assert_eq!(matches!(seen, Observation::Passing { .. }), passes, "{seen:?}");
        assert!(passes || matches!(seen, Observation::Failing { .. }), "{seen:?}");
    }
}
