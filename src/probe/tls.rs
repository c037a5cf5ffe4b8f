//! The `tls` probe: a handshake, and a judgement of the certificate that the server shows in it.
//!
//! In flows a [`TlsProbe`]; out flows for how long the certificate is valid, by whom and for whom, or what is wrong
//! with it. The clock of this machine is read for it. Nothing is asked of the server beyond the handshake, and it is
//! told goodbye, so that it has nothing to complain of in its log.
//!
//! A certificate that is refused is of interest as much as one that is not, so the handshake goes on with any, and what
//! rustls says of it is judged afterwards. Nothing but a goodbye is sent to a server that was not believed.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

use super::Attempt;
use super::certificate::{Certificate, day, moment};
use super::error::{EXCERPT, ProbeError};
use super::file::shown;
use super::secure::{certificate, explain, listed};
use crate::check::TlsProbe;
use crate::text::sanitize;
use crate::time::human;

mod authorities;
mod on_disk;
mod pem;
mod served;
mod starttls;

use authorities::Authorities;
use on_disk::OnDisk;
use served::Served;

/// The most characters of an issuer or of one name.
const NAME: usize = EXCERPT / 2;

/// One attempt.
pub(super) async fn run(probe: &TlsProbe, attempt: &Attempt<'_>) -> Result<String, ProbeError> {
    let stream = served::reach(probe, attempt).await?;
    let authorities = Authorities::of(probe.ca_file.as_deref(), attempt).await?;
    let served = served::ask(stream, probe, &authorities, None, attempt).await?;
    let claims = served.claims()?;
    let judged = judge(probe, &served, &claims);
    match &probe.file {
        None => judged.map_err(Wrong::into_trouble),
        Some(file) => {
            let on_disk = on_disk::compare(file, probe, &served, &authorities, attempt).await;
            conclude(judged, on_disk, &claims)
        }
    }
}

/// What is wrong with a certificate.
enum Wrong {
    /// Nothing yet.
    EndsSoon(String),
    /// Clients refuse it, or would if they were as strict as they should be.
    Refused(String),
    /// It could not be told.
    Untold(ProbeError),
}

impl Wrong {
    fn into_trouble(self) -> ProbeError {
        match self {
            Self::EndsSoon(reason) | Self::Refused(reason) => ProbeError::Target(reason),
            Self::Untold(failure) => failure,
        }
    }
}

/// What is to be said of the certificate alone: the detail of a pass, or what is wrong.
fn judge(probe: &TlsProbe, served: &Served, claims: &Certificate<'_>) -> Result<String, Wrong> {
    if let Some(error) = &served.refused {
        return Err(match error {
            Error::InvalidCertificate(why) => Wrong::Refused(refusal(probe, why, served, claims)),
            other => Wrong::Untold(explain(other)),
        });
    }
    let Some((_, until)) = claims.validity() else {
        return Err(Wrong::Refused("the dates of the certificate cannot be read".to_owned()));
    };
    let left = Duration::from_secs(until.as_secs().saturating_sub(UnixTime::now().as_secs()));
    let whose = [issued_by(claims), meant_for(claims)].join(", ");
    if left < probe.valid_for {
        let (left, demanded, until) = (counted(left), human(probe.valid_for), moment(until));
        return Err(Wrong::EndsSoon(format!(
            "the certificate is valid for no more than {left} (until {until}), less than {demanded}; {whose}"
        )));
    }
    Ok(format!("valid for {} (until {}), {whose}", counted(left), day(until)))
}

/// What a certificate that is refused has wrong with it, and what it says of itself besides.
fn refusal(probe: &TlsProbe, why: &CertificateError, served: &Served, claims: &Certificate<'_>) -> String {
    use CertificateError as C;
    let (issuer, names, until) = (issued_by(claims), meant_for(claims), valid_until(claims));
    let (clause, more) = match why {
        C::ExpiredContext { not_after, .. }
            if claims.validity().is_some_and(|(_, until)| until != *not_after) =>
        {
            (format!("{BETWEEN} expired on {}", moment(*not_after)), vec![issuer, names, until])
        }
        C::ExpiredContext { time, not_after } => {
            let ago = Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs()));
            (format!("{}, {} ago", certificate(why), counted(ago)), vec![issuer, names])
        }
        C::NotValidYetContext { not_before, .. }
            if claims.validity().is_some_and(|(from, _)| from != *not_before) =>
        {
            (format!("{BETWEEN} is not valid before {}", moment(*not_before)), vec![issuer, names, until])
        }
        C::NotValidYetContext { .. } => (certificate(why), vec![issuer, names]),
        C::NotValidForNameContext { .. } => (certificate(why), vec![issuer, until]),
        // Also one that openssl made in one step, which is marked as an authority.
        C::UnknownIssuer | C::Other(_) if claims.self_issued() => {
            ("the certificate is self-signed".to_owned(), vec![names, until])
        }
        C::UnknownIssuer => (untrusted(probe, served, claims), vec![names, until]),
        _ => (certificate(why), vec![issuer, names, until]),
    };
    sanitize(&format!("{clause}; {}", more.join(", ")), 4 * EXCERPT)
}

/// What the server sends besides its own certificate, and what comes of it can be as wrong.
const BETWEEN: &str = "a certificate between the server's own and its authority's";

fn untrusted(probe: &TlsProbe, served: &Served, claims: &Certificate<'_>) -> String {
    let whose = match &probe.ca_file {
        None => "this machine does not trust".to_owned(),
        Some(file) => format!("{} does not have", shown(file)),
    };
    // What is missing mostly, where everything looks well in a browser that has seen it elsewhere.
    let alone = if served.is_alone() { " (the server sends none of the certificates between)" } else { "" };
    format!("the certificate is {}, which {whose}{alone}", issued_by(claims))
}

fn issued_by(claims: &Certificate<'_>) -> String {
    format!("issued by {}", claims.issuer_name(NAME).unwrap_or_else(|| "nobody with a name".to_owned()))
}

fn meant_for(claims: &Certificate<'_>) -> String {
    format!("for {}", listed(&claims.names(NAME)))
}

fn valid_until(claims: &Certificate<'_>) -> String {
    claims
        .validity()
        .map_or_else(|| "without dates".to_owned(), |(_, until)| format!("valid until {}", day(until)))
}

/// A time as people think of it with certificates: in days, and only the last ones more precisely.
fn counted(duration: Duration) -> String {
    const DAY: u64 = 24 * 3600;
    match duration.as_secs() {
        seconds if seconds < 2 * DAY => human(duration),
        seconds => format!("{} days", seconds / DAY),
    }
}

/// The verdict in the light of what is on disk. A restart helps where a renewed certificate is there to be served;
/// where none is, or it cannot be seen, that is a matter for whoever renews it.
fn conclude(
    judged: Result<String, Wrong>,
    on_disk: Result<OnDisk, ProbeError>,
    claims: &Certificate<'_>,
) -> Result<String, ProbeError> {
    match (judged, on_disk) {
        (Err(Wrong::Untold(failure)), _) => Err(failure),
        (Err(Wrong::Refused(wrong)), Ok(OnDisk::Renewed { until })) => {
            let renewed = format!("a renewed one is on disk (valid until {})", day(until));
            Err(ProbeError::target(format!(
                "{wrong}; {renewed}, but the server does not serve it: restart it"
            )))
        }
        (Ok(_) | Err(Wrong::EndsSoon(_)), Ok(OnDisk::Renewed { until })) => {
            let renewed = format!("a renewed certificate is on disk (valid until {})", day(until));
            let old = valid_until(claims);
            Err(ProbeError::target(format!(
                "{renewed}, but the server still serves the one {old}: restart it"
            )))
        }
        (Err(Wrong::Refused(wrong) | Wrong::EndsSoon(wrong)), Ok(_)) => {
            Err(ProbeError::NotRestartable(wrong))
        }
        (Err(Wrong::Refused(wrong) | Wrong::EndsSoon(wrong)), Err(unseen)) => {
            let unseen = unseen.reason();
            Err(ProbeError::NotRestartable(format!(
                "{wrong}; whether it has been renewed is not known: {unseen}"
            )))
        }
        (Ok(_), Err(unseen)) => Err(unseen),
        (Ok(detail), Ok(OnDisk::Served)) => Ok(detail),
        (Ok(detail), Ok(OnDisk::Older)) => Ok(format!("{detail}; the one on disk is older")),
        (Ok(detail), Ok(OnDisk::EndsSooner { until })) => {
            Ok(format!("{detail}; the one on disk ends sooner ({})", day(until)))
        }
        (Ok(detail), Ok(OnDisk::NotYet { from })) => {
            Ok(format!("{detail}; the one on disk is not valid before {}", moment(from)))
        }
    }
}
