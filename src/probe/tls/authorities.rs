//! Whom a `tls` probe trusts: the machine's authorities, or those of a file of the administrator's, and nobody else.
//!
//! A server's own certificate can stand in that file as well: it is then trusted as it is, whoever signed it, as long
//! as its dates and its name are right.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::CertificateDer;

use super::super::Attempt;
use super::super::error::ProbeError;
use super::super::file::shown;
use super::super::secure::verifier;
use super::pem::certificates;

/// What a certificate is verified by.
#[derive(Clone, Debug)]
pub(super) struct Authorities {
    /// Verifies by authorities.
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    /// Certificates that are trusted as they are.
    pub(super) pinned: Arc<[CertificateDer<'static>]>,
}

impl Authorities {
    /// Those of `file`, or where there is none the machine's.
    pub(super) async fn of(file: Option<&Path>, attempt: &Attempt<'_>) -> Result<Self, ProbeError> {
        let Some(file) = file else {
            let verifier = attempt.tools.trust.verifier().await?;
            return Ok(Self { verifier, pinned: Arc::default() });
        };
        let pinned = certificates(file, attempt).await?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pinned.iter().cloned());
        if roots.is_empty() {
            return Err(ProbeError::local(format!(
                "{} has no certificate that could be trusted",
                shown(file)
            )));
        }
        Ok(Self { verifier: verifier(roots)?, pinned: pinned.into() })
    }
}
