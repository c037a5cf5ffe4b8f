//! TLS on a connection: the handshake, whom it trusts, and words for what can be wrong with a certificate.
//!
//! In flow a connection and the name its server must prove; out flows the encrypted stream, or whose fault it is that
//! there is none. Sessions are never resumed: a resumed session shows no certificate, and one that expired since would
//! go unseen.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, OtherError, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{Certificate, moment};
use super::error::{EXCERPT, ProbeError, find};
use super::{Attempt, Phase};
use crate::text::sanitize;

/// The most names of a certificate that a reason lists.
const NAMES: usize = 5;

/// Whom TLS probes trust; its configurations are made at their first use.
#[derive(Debug, Default)]
pub(super) struct Trust {
    besides: Vec<CertificateDer<'static>>,
    verifier: OnceCell<Arc<WebPkiServerVerifier>>,
    verifying: OnceCell<Arc<ClientConfig>>,
    unverifying: OnceCell<Arc<ClientConfig>>,
}

impl Trust {
    /// Trusts `besides` in addition to the machine's own authorities.
    pub(super) fn besides(besides: Vec<CertificateDer<'static>>) -> Self {
        Self { besides, ..Self::default() }
    }

    async fn config(&self, verify: bool) -> Result<Arc<ClientConfig>, ProbeError> {
        let config = if verify {
            self.verifying
                .get_or_try_init(async || {
                    client_config(Arc::new(Explaining { inner: self.verifier().await? }))
                })
                .await?
        } else {
            self.unverifying
                .get_or_try_init(async || {
                    client_config(Arc::new(AcceptAnyCertificate(ring::default_provider())))
                })
                .await?
        };
        Ok(Arc::clone(config))
    }

    /// What verifies certificates by the machine's authorities.
    pub(super) async fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, ProbeError> {
        self.verifier.get_or_try_init(|| self.load()).await.map(Arc::clone)
    }

    /// Reads the machine's authorities, off the loop: some hundred files of PEM take milliseconds.
    async fn load(&self) -> Result<Arc<WebPkiServerVerifier>, ProbeError> {
        let besides = self.besides.clone();
        let load = move || {
            let native = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            // One that cannot be read is one that is not trusted; the others are as good as before.
            roots.add_parsable_certificates(native.certs);
            roots.add_parsable_certificates(besides);
            if roots.is_empty() {
                let why =
                    native.errors.first().map(|error| format!(": {}", sanitize(&error.to_string(), EXCERPT)));
                return Err(ProbeError::local(format!(
                    "this machine has no certificate authorities to trust{}",
                    why.unwrap_or_default()
                )));
            }
            verifier(roots)
        };
        tokio::task::spawn_blocking(load).await.unwrap_or_else(|_| {
            Err(ProbeError::local("the machine's certificate authorities could not be read"))
        })
    }
}

/// Of one name, this many certificates of a chain are looked at. There are two where a new authority is also signed by
/// an old one.
const OF_ONE_NAME: usize = 4;

/// The certificates between a server's own and its authority's, without the hostile ones: where many bear the same
/// name, each may be the issuer of each, and to try all ways through them takes as long as whoever made them likes.
pub(super) fn at_most<'a>(intermediates: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
    let mut of_name: HashMap<&[u8], usize> = HashMap::new();
    let mut looked_at = |der: &&'a CertificateDer<'_>| {
        let name = Certificate::read(der).map(|claims| claims.subject()).unwrap_or_default();
        let count = of_name.entry(name).or_default();
        *count += 1;
        *count <= OF_ONE_NAME
    };
    let kept = intermediates.iter().filter(|der| looked_at(der));
    kept.map(|der| CertificateDer::from(der.as_ref())).collect()
}

/// What verifies certificates by these authorities.
pub(super) fn verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, ProbeError> {
    WebPkiServerVerifier::builder_with_provider(roots.into(), provider())
        .build()
        .map_err(|error| ProbeError::local(format!("no certificate can be verified: {error}")))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A configuration that leaves the judgement of certificates to `verifier`.
pub(super) fn client_config(verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, ProbeError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| ProbeError::local(format!("TLS cannot be set up: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Makes `stream` a TLS stream with a server that proves to be `host`, or with any where `verify` is false.
pub(super) async fn handshake(
    stream: TcpStream,
    host: &str,
    verify: bool,
    alpn: &[&[u8]],
    attempt: &Attempt<'_>,
) -> Result<TlsStream<TcpStream>, ProbeError> {
    attempt.enter(Phase::Handshake);
    let connector = TlsConnector::from(attempt.tools.trust.config(verify).await?);
    let alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let connecting = connector.with_alpn(alpn).connect(server_name(host)?, stream);
    connecting.await.map_err(|error| failed(&error))
}

/// The name that a server must prove, as TLS wants it.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, ProbeError> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| ProbeError::local(format!("no certificate can be for `{}`", sanitize(host, EXCERPT))))
}

/// Why there was no handshake.
pub(super) fn failed(error: &std::io::Error) -> ProbeError {
    match find::<rustls::Error>(error) {
        Some(error) => explain(error),
        None => ProbeError::from_io(error).after("TLS handshake failed"),
    }
}

/// What a TLS error says to a person.
pub(super) fn explain(error: &rustls::Error) -> ProbeError {
    use rustls::Error as E;
    let text = match error {
        E::InvalidCertificate(error) => certificate(error),
        // 64 KiB of them, where a chain has some 5.
        E::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        ) => "the server sends more certificates than a client takes".to_owned(),
        // Whatever was not even a record of TLS.
        E::InvalidMessage(_) | E::PeerSentOversizedRecord => "the server does not speak TLS".to_owned(),
        E::AlertReceived(alert) => format!("the server rejected the TLS handshake: {alert:?}"),
        E::PeerIncompatible(why) => format!("no version or cipher of TLS in common with the server: {why:?}"),
        E::NoCertificatesPresented => "the server has no certificate".to_owned(),
        E::FailedToGetCurrentTime | E::FailedToGetRandomBytes | E::EncryptError => {
            return ProbeError::local(format!("TLS failed on this machine: {error}"));
        }
        other => format!("TLS failed: {other}"),
    };
    ProbeError::target(sanitize(&text, 2 * EXCERPT))
}

/// What is wrong with a certificate, as a clause.
pub(super) fn certificate(error: &CertificateError) -> String {
    use CertificateError as C;
    match error {
        C::ExpiredContext { not_after, .. } => format!("the certificate expired on {}", moment(*not_after)),
        C::Expired => "the certificate is expired".to_owned(),
        C::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}", moment(*not_before))
        }
        C::NotValidYet => "the certificate is not valid yet".to_owned(),
        C::NotValidForNameContext { expected, presented: names } => {
            format!("the certificate is not for {}, but for {}", expected.to_str(), presented(names))
        }
        C::NotValidForName => "the certificate is for another name".to_owned(),
        C::UnknownIssuer => "the certificate's issuer is not trusted by this machine".to_owned(),
        C::BadEncoding => "the certificate cannot be read".to_owned(),
        C::BadSignature => "the certificate's signature is wrong".to_owned(),
        C::Revoked => "the certificate is revoked".to_owned(),
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            "the certificate is not for servers".to_owned()
        }
        C::Other(OtherError(why)) if why.is::<Untrusted>() => format!("the certificate is {why}"),
        other => format!("the certificate is not accepted: {other}"),
    }
}

/// The names of a certificate as rustls gives them: `DnsName("gru")`, `IpAddress(127.0.0.1)`.
fn presented(names: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').to_owned()
    };
    listed(&names.iter().map(bare).collect::<Vec<_>>())
}

/// Some of the names that a certificate is for.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => "no name at all".to_owned(),
        _ if names.len() > NAMES => format!("{}, {} more", names[..NAMES].join(", "), names.len() - NAMES),
        names => names.join(", "),
    }
}

/// Verifies as rustls does, and tells more of why it refused a certificate.
#[derive(Debug)]
struct Explaining {
    inner: Arc<WebPkiServerVerifier>,
}

/// Who issued a certificate that is not trusted.
#[derive(Debug)]
struct Untrusted(String);

impl std::fmt::Display for Untrusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Untrusted {}

impl Explaining {
    /// Whether the refusal comes from who issued the certificate, and then who that was. A certificate that openssl
    /// made in one step is marked as an authority, which rustls refuses for a server under a name of its own.
    fn issuer(error: &rustls::Error, end_entity: &CertificateDer<'_>) -> Option<Untrusted> {
        let claims = Certificate::read(end_entity)?;
        match error {
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::Other(_),
            ) if claims.self_issued() => Some(Untrusted("self-signed".to_owned())),
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                claims.issuer_name(EXCERPT / 2).map(|issuer| {
                    Untrusted(format!("issued by \"{issuer}\", which this machine does not trust"))
                })
            }
            _ => None,
        }
    }
}

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let intermediates = at_most(intermediates);
        self.inner.verify_server_cert(end_entity, &intermediates, server_name, ocsp_response, now).map_err(
            |error| match Self::issuer(&error, end_entity) {
                Some(why) => CertificateError::Other(OtherError(Arc::new(why))).into(),
                None => error,
            },
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// For `verify_tls: false`: takes any certificate, and does not even ask that the server has its key. Whoever sits on
/// the path can be that server; the probe then only says that something answers.
#[derive(Debug)]
struct AcceptAnyCertificate(CryptoProvider);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
