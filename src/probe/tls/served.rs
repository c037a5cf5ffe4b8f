//! The handshake: which certificates the server shows, and whether they are to be believed.
//!
//! In flow a connection and whom to trust; out flow the certificates as they came and rustls's judgement, or why there
//! was no handshake. The handshake goes on whatever the judgement; that the server has the certificate's key is always
//! verified.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::super::certificate::Certificate;
use super::super::connect::connect;
use super::super::error::ProbeError;
use super::super::secure::{at_most, client_config, failed, server_name};
use super::super::{Attempt, Phase};
use super::authorities::Authorities;
use super::starttls;
use crate::check::{Starttls, TlsProbe};

/// How long a server may take to close after the goodbye, at most half of the time that is left. Closing before what it
/// still sends has arrived would be a reset, which some servers log and others do not survive (see `connect`).
const GOODBYE: Duration = Duration::from_millis(500);

/// What a server showed.
pub(super) struct Served {
    /// Its own certificate first, as it came. Never empty.
    chain: Vec<CertificateDer<'static>>,
    /// Why it is not to be believed, if it is not.
    pub(super) refused: Option<Error>,
}

impl Served {
    /// The server's own certificate.
    pub(super) fn leaf(&self) -> &[u8] {
        self.chain.first().map_or(&[], |leaf| leaf.as_ref())
    }

    /// What the server's own certificate says.
    pub(super) fn claims(&self) -> Result<Certificate<'_>, ProbeError> {
        Certificate::read(self.leaf()).ok_or_else(|| ProbeError::target("the certificate cannot be read"))
    }

    /// Whether it came without any other.
    pub(super) fn is_alone(&self) -> bool {
        self.chain.len() == 1
    }
}

/// A connection on which the server waits for a handshake.
pub(super) async fn reach(probe: &TlsProbe, attempt: &Attempt<'_>) -> Result<TcpStream, ProbeError> {
    let stream = connect(&probe.address.host, probe.address.port, attempt).await?;
    match probe.starttls {
        None => Ok(stream),
        Some(Starttls::Smtp) => {
            attempt.enter(Phase::Waiting);
            starttls::smtp(stream, attempt).await
        }
    }
}

/// Makes the handshake. `key`: the server is to show a certificate whose key is of this algorithm, of several that it
/// may have.
pub(super) async fn ask(
    stream: TcpStream,
    probe: &TlsProbe,
    authorities: &Authorities,
    key: Option<&[u8]>,
    attempt: &Attempt<'_>,
) -> Result<Served, ProbeError> {
    attempt.enter(Phase::Handshake);
    let recorder = Arc::new(Recorder {
        authorities: authorities.clone(),
        key: key.map(<[u8]>::to_vec),
        seen: Mutex::default(),
    });
    let connector = TlsConnector::from(client_config(recorder.clone())?);
    let connecting = connector.connect(server_name(&probe.server_name)?, stream);
    let mut stream = connecting.await.map_err(|error| failed(&error))?;
    let quit: &[u8] = match probe.starttls {
        Some(Starttls::Smtp) => b"QUIT\r\n",
        None => b"",
    };
    attempt.answered();
    part(&mut stream, quit, attempt).await;
    recorder.take().ok_or_else(|| ProbeError::target("the server has no certificate"))
}

/// Says goodbye, and waits a moment for the other side to close as well. Nothing that goes wrong here is of interest.
pub(super) async fn part(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    word: &[u8],
    attempt: &Attempt<'_>,
) {
    let farewell = async {
        stream.write_all(word).await?;
        stream.shutdown().await?;
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    let left = attempt.deadline.saturating_duration_since(Instant::now());
    let _ = timeout(GOODBYE.min(left / 2), farewell).await;
}

/// Keeps what the server showed, and what is to be thought of it.
#[derive(Debug)]
struct Recorder {
    authorities: Authorities,
    key: Option<Vec<u8>>,
    seen: Mutex<Option<(Vec<CertificateDer<'static>>, Option<Error>)>>,
}

impl Recorder {
    fn take(&self) -> Option<Served> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        seen.map(|(chain, refused)| Served { chain, refused })
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = if self.authorities.pinned.contains(end_entity) {
            name_and_dates(end_entity, name, now)
        } else {
            let verifier = &self.authorities.verifier;
            verifier
                .verify_server_cert(end_entity, &at_most(intermediates), name, ocsp_response, now)
                .map(|_| ())
        };
        let all = std::iter::once(end_entity).chain(intermediates);
        let chain = all.map(|certificate| certificate.clone().into_owned()).collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((chain, verdict.err()));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.authorities.verifier.supported_verify_schemes();
        if let Some(key) = &self.key {
            schemes.retain(|scheme| algorithm_of(*scheme) == Some(key));
        }
        schemes
    }
}

/// All that can be wrong with a certificate that is trusted as it is.
fn name_and_dates(
    end_entity: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let (from, until) = Certificate::read(end_entity)
        .and_then(|claims| claims.validity())
        .ok_or(CertificateError::BadEncoding)?;
    if now < from {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: from }.into());
    }
    if now > until {
        return Err(CertificateError::ExpiredContext { time: now, not_after: until }.into());
    }
    verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)
}

/// The algorithm of the keys that sign in a way: rsaEncryption, id-ecPublicKey or id-Ed25519, as certificates name it.
fn algorithm_of(scheme: SignatureScheme) -> Option<&'static [u8]> {
    use SignatureScheme as S;
    match scheme {
        S::RSA_PKCS1_SHA256
        | S::RSA_PKCS1_SHA384
        | S::RSA_PKCS1_SHA512
        | S::RSA_PSS_SHA256
        | S::RSA_PSS_SHA384
        | S::RSA_PSS_SHA512 => Some(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]),
        S::ECDSA_NISTP256_SHA256 | S::ECDSA_NISTP384_SHA384 | S::ECDSA_NISTP521_SHA512 => {
            Some(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01])
        }
        S::ED25519 => Some(&[0x2b, 0x65, 0x70]),
        _ => None,
    }
}
