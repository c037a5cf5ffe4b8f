//! Logging in and TLS: the password goes to the right server, and nowhere else.

use stealthcheck::check::CredentialName;
use stealthcheck::config::{Credentials, SmtpTls};

use crate::rig::{Rig, settings, surroundings};
use crate::server::{Options, Server, Tls, base64};

#[tokio::test]
async fn the_login_works_by_both_mechanisms_and_the_password_is_in_no_error() {
    let (name, password) = ("alerts@example.org", "s3cret Wörd");
    let plain = base64(&format!("\0{name}\0{password}"));
    let login = format!("{} {}", base64(name), base64(password));
    let dir = tempfile::tempdir().unwrap();
    let mut with_credentials = surroundings();
    with_credentials.credentials = Credentials::at(dir.path());
    // The second is how systemd names a file of a directory that is loaded whole.
    let ways = [
        ("PLAIN LOGIN", plain.clone(), "smtp-password"),
        ("LOGIN", login.clone(), "stealthcheck_smtp-password"),
    ];
    for (mechanisms, right, file) in ways {
        let credential = dir.path().join(file);
        let server = Server::start(Options { auth: Some((mechanisms, right)), ..Options::default() }).await;
        let mut settings = settings(server.port);
        settings.smtp.username = Some(name.to_owned());
        settings.smtp.password_credential = CredentialName::new("smtp-password").ok();
        let rig = Rig::start_in(with_credentials.clone(), None, Some(settings));
        let test = || rig.mailer.send_test(vec!["x@example.org".to_owned()]);

        let error = test().await.unwrap_err();
        assert!(error.contains("there is no credential `smtp-password`"), "{error}");
        assert!(error.contains("LoadCredential=smtp-password:"), "{error}");

        std::fs::write(&credential, format!("{password}\n")).unwrap();
        assert_eq!(test().await.unwrap(), "x@example.org: 250 2.0.0 queued as 4F2A");

        std::fs::write(&credential, format!("{password}-wrong\n")).unwrap();
        let error = test().await.unwrap_err();
        assert!(error.contains("login as alerts@example.org failed: 535 5.7.8 not with"), "{error}");
        for secret in [password.to_owned(), base64(&format!("{password}-wrong"))] {
            assert!(!error.contains(&secret), "{error}");
        }
        assert!(!error.contains(&base64(&format!("\0{name}\0{password}-wrong"))), "{error}");
        std::fs::remove_file(&credential).unwrap();
    }
}

#[tokio::test]
async fn tls_that_is_required_and_not_offered_sends_nothing() {
    let server = Server::start(Options::default()).await;
    let mut settings = settings(server.port);
    settings.smtp.tls = SmtpTls::Starttls;
    let rig = Rig::start(None, Some(settings));
    let error = rig.mailer.send_test(vec!["x@example.org".to_owned()]).await.unwrap_err();
    assert!(error.contains("it does not offer STARTTLS"), "{error}");
    assert!(!server.commands().iter().any(|line| line.starts_with("MAIL")));
}

/// The system's certificates come from the environment, so the test runs itself again in one of its own.
#[tokio::test]
async fn tls_both_ways_and_only_with_an_authority_that_is_trusted() {
    const AGAIN: &str = "STEALTHCHECK_TEST_TLS";
    let dir = tempfile::tempdir().unwrap();
    let Some(key) = std::env::var_os(AGAIN) else {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.der"));
        std::fs::write(&cert, own.cert.pem()).unwrap();
        std::fs::write(&key, own.signing_key.serialize_der()).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "secrets::tls_both_ways_and_only_with_an_authority_that_is_trusted",
                "--nocapture",
            ])
            .env(AGAIN, &key)
            .env("SSL_CERT_FILE", &cert)
            .env_remove("SSL_CERT_DIR")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    };
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let key = PrivateKeyDer::try_from(std::fs::read(key).unwrap()).unwrap();
    let trusted = CertificateDer::from_pem_file(std::env::var_os("SSL_CERT_FILE").unwrap()).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other_key = PrivateKeyDer::try_from(other.signing_key.serialize_der()).unwrap();
    let config = |cert: CertificateDer<'static>, key: PrivateKeyDer<'static>| {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        std::sync::Arc::new(config.with_single_cert(vec![cert], key).unwrap())
    };
    let good = config(trusted, key);
    let bad = config(other.cert.der().clone(), other_key);
    std::fs::write(dir.path().join("pw"), "geheim").unwrap();
    let mut with_credentials = surroundings();
    with_credentials.credentials = Credentials::at(dir.path());
    for (tls, config) in [(SmtpTls::Starttls, &good), (SmtpTls::Implicit, &good), (SmtpTls::Starttls, &bad)] {
        let offered = match tls {
            SmtpTls::Implicit => Tls::Implicit(config.clone()),
            _ => Tls::Starttls(config.clone()),
        };
        let auth = Some(("PLAIN", base64("\0u\0geheim")));
        let server = Server::start(Options { tls: offered, auth, ..Options::default() }).await;
        let mut settings = settings(server.port);
        settings.smtp.tls = tls;
        settings.smtp.username = Some("u".to_owned());
        settings.smtp.password_credential = CredentialName::new("pw").ok();
        let rig = Rig::start_in(with_credentials.clone(), None, Some(settings));
        let said = rig.mailer.send_test(vec!["x@example.org".to_owned()]).await;
        if std::sync::Arc::ptr_eq(config, &good) {
            assert_eq!(said.as_deref(), Ok("x@example.org: 250 2.0.0 queued as 4F2A"), "{tls:?}");
        } else {
            let error = said.unwrap_err();
            assert!(error.contains("not signed by an authority"), "{error}");
            assert!(
                !server.commands().iter().any(|line| line.starts_with("AUTH")),
                "no password to a stranger"
            );
        }
    }
}

/// As above: trusted are a certificate that has expired, and one for another name.
#[tokio::test]
async fn a_certificate_that_has_expired_or_is_for_another_name_gets_no_password() {
    const AGAIN: &str = "STEALTHCHECK_TEST_CERTIFICATES";
    let dir = tempfile::tempdir().unwrap();
    let Some(shown) = std::env::var_os(AGAIN) else {
        let (mut trusted, mut names) = (String::new(), Vec::new());
        for (name, year) in [("localhost", 2001), ("other.example.org", 2100)] {
            let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            let cert = params.self_signed(&key).unwrap();
            trusted.push_str(&cert.pem());
            std::fs::write(dir.path().join(format!("{name}.crt")), cert.der()).unwrap();
            std::fs::write(dir.path().join(format!("{name}.key")), key.serialize_der()).unwrap();
            names.push(name);
        }
        std::fs::write(dir.path().join("trusted.pem"), trusted).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "secrets::a_certificate_that_has_expired_or_is_for_another_name_gets_no_password",
                "--nocapture",
            ])
            .env(AGAIN, dir.path())
            .env("SSL_CERT_FILE", dir.path().join("trusted.pem"))
            .env_remove("SSL_CERT_DIR")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    };
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let shown = std::path::PathBuf::from(shown);
    std::fs::write(dir.path().join("pw"), "geheim").unwrap();
    for (name, says) in [
        ("localhost", "its certificate has expired"),
        ("other.example.org", "not valid for name \"localhost\""),
    ] {
        let read = |kind: &str| std::fs::read(shown.join(format!("{name}.{kind}"))).unwrap();
        let key = PrivateKeyDer::try_from(read("key")).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![CertificateDer::from(read("crt"))], key).unwrap();
        let config = std::sync::Arc::new(config);
        for (tls, offered) in [
            (SmtpTls::Starttls, Tls::Starttls(config.clone())),
            (SmtpTls::Implicit, Tls::Implicit(config.clone())),
        ] {
            let auth = Some(("PLAIN", base64("\0u\0geheim")));
            let server = Server::start(Options { tls: offered, auth, ..Options::default() }).await;
            let mut settings = settings(server.port);
            settings.smtp.tls = tls;
            settings.smtp.username = Some("u".to_owned());
            settings.smtp.password_credential = CredentialName::new("pw").ok();
            let mut around = surroundings();
            around.credentials = Credentials::at(dir.path());
            around.patience.answer = std::time::Duration::from_secs(20);
            let rig = Rig::start_in(around, None, Some(settings));
            let error = rig.mailer.send_test(vec!["x@example.org".to_owned()]).await.unwrap_err();
            assert!(error.contains(says), "{tls:?}: {error}");
            let told =
                server.commands().iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL"));
            assert!(!told, "something is said to a stranger: {:?}", server.commands());
        }
    }
}
