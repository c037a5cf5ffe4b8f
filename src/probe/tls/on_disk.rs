//! The certificate on disk against the one that is served: has it been renewed, and does the server know?
//!
//! In flow a file and what the server showed; out flows how the file's certificate stands to it. A certificate is a
//! renewal of another when it has been issued later, is valid now and is for the server's name; how long it is valid
//! says nothing, since what is renewed may be renewed for a shorter time; but one that would be reported as soon as it
//! is served is no gain.

use std::path::Path;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;

use super::super::Attempt;
use super::super::certificate::Certificate;
use super::super::error::ProbeError;
use super::super::file::shown;
use super::super::secure::{listed, server_name};
use super::NAME;
use super::authorities::Authorities;
use super::pem::certificates;
use super::served::{self, Served};
use crate::check::TlsProbe;

/// How the certificate on disk stands to the one that is served.
#[derive(Debug)]
pub(super) enum OnDisk {
    /// It is that one.
    Served,
    /// It is newer.
    Renewed {
        /// Valid until then.
        until: UnixTime,
    },
    /// It is not newer, or not valid any more.
    Older,
    /// It is newer, but ends before the one that is served, and too soon.
    EndsSooner {
        /// Valid until then.
        until: UnixTime,
    },
    /// It will be valid one day.
    NotYet {
        /// From then on.
        from: UnixTime,
    },
}

/// Compares them. What keeps the file from being compared is our trouble.
pub(super) async fn compare(
    file: &Path,
    probe: &TlsProbe,
    served: &Served,
    authorities: &Authorities,
    attempt: &Attempt<'_>,
) -> Result<OnDisk, ProbeError> {
    let all = certificates(file, attempt).await?;
    let Some(leaf) = all.first() else { return Ok(OnDisk::Older) };
    if leaf.as_ref() == served.leaf() {
        return Ok(OnDisk::Served);
    }
    let unread = || ProbeError::local(format!("the certificate in {} cannot be read", shown(file)));
    let claims = Certificate::read(leaf).ok_or_else(unread)?;
    must_be_for(probe, leaf, &claims, file)?;
    let (from, until) = claims.validity().ok_or_else(unread)?;
    let shown = served.claims()?;
    let now = UnixTime::now();
    if from > now {
        return Ok(OnDisk::NotYet { from });
    }
    let Some((served_from, served_until)) = shown.validity() else { return Ok(OnDisk::Older) };
    if until < now || from <= served_from {
        return Ok(OnDisk::Older);
    }
    if until < served_until && until.as_secs().saturating_sub(now.as_secs()) < probe.valid_for.as_secs() {
        return Ok(OnDisk::EndsSooner { until });
    }
    let other_kind = claims.key_algorithm().filter(|kind| shown.key_algorithm() != Some(kind));
    if let Some(kind) = other_kind
        && serves_besides(leaf, kind, probe, authorities, attempt).await
    {
        return Ok(OnDisk::Served);
    }
    Ok(OnDisk::Renewed { until })
}

/// Somebody else's certificate is no renewal, and a restart for its sake would be one for nothing.
fn must_be_for(
    probe: &TlsProbe,
    leaf: &CertificateDer<'_>,
    claims: &Certificate<'_>,
    file: &Path,
) -> Result<(), ProbeError> {
    let name = server_name(&probe.server_name)?;
    let fits = ParsedCertificate::try_from(leaf).and_then(|leaf| verify_server_name(&leaf, &name));
    fits.map_err(|_| {
        let (file, names) = (shown(file), listed(&claims.names(NAME)));
        ProbeError::local(format!(
            "the certificate in {file} is not for {}, but for {names}: it is none that this server is to serve",
            probe.server_name
        ))
    })
}

/// Servers may have two certificates, one with an RSA key and one with an elliptic curve, and show each client the one
/// that it prefers. Whether the server shows this one to who takes no other.
async fn serves_besides(
    leaf: &CertificateDer<'_>,
    kind: &[u8],
    probe: &TlsProbe,
    authorities: &Authorities,
    attempt: &Attempt<'_>,
) -> bool {
    let Ok(stream) = served::reach(probe, attempt).await else { return false };
    let shown = served::ask(stream, probe, authorities, Some(kind), attempt).await;
    shown.is_ok_and(|shown| shown.leaf() == leaf.as_ref())
}
