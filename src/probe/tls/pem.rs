//! Certificates from a PEM file. Nothing else of such a file is looked at: it may hold a key as well.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::super::Attempt;
use super::super::error::ProbeError;
use super::super::file::{read, shown};

/// All certificates in the file, in their order; never none.
pub(super) async fn certificates(
    path: &Path,
    attempt: &Attempt<'_>,
) -> Result<Vec<CertificateDer<'static>>, ProbeError> {
    let content = read(path, attempt).await?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => {
            Err(ProbeError::local(format!("{} has no certificate in it (PEM)", shown(path))))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(ProbeError::local(format!("{} is no proper PEM: {error}", shown(path)))),
    }
}
