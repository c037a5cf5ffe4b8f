//! `tls:`.
//!
//! In: its field. Out: a probe. The files that it names are read when it runs, not here: they may come later.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::check::{Check, HostPort, Probe, Starttls, Step, TlsProbe};
use crate::config::defaults;
use crate::config::field::Field;
use crate::config::mail::transpose;
use crate::config::placeholders;
use crate::config::report::{At, Report};

const KEYS: &[&str] = &["address", "server_name", "valid_for", "ca_file", "starttls", "file"];
const PROTOCOLS: &[&str] = &["smtp"];
const NAME: &str = "a name or an address, as certificates have them";
const FILE: &str = "the path of a file with certificates (PEM)";

/// Checks `tls:`, a mapping or only the address.
pub(super) fn probe(field: &Field<'_>, report: &mut Report) -> Option<TlsProbe> {
    if field.as_text().is_some() {
        return with_address(field, field.parsed(super::ADDRESS, report, super::address)?, report);
    }
    let table = field.table(KEYS, report)?;
    let address = table
        .need("address", report)
        .and_then(|field| Some((field, field.parsed(super::ADDRESS, report, super::address)?)));
    let name = table.get("server_name").map(|field| field.parsed(NAME, report, server_name));
    let valid_for =
        table.get("valid_for").map(|_| defaults::duration(&table, "valid_for", Duration::ZERO, report));
    let ca_file = table.get("ca_file").map(|field| field.parsed(FILE, report, path));
    let starttls = table
        .get("starttls")
        .map(|field| field.word("a protocol, `smtp`", PROTOCOLS, report).map(|_| Starttls::Smtp));
    let file = table.get("file").map(|field| field.parsed(FILE, report, path));
    let (at, address) = address?;
    let default = match transpose(name)? {
        Some(server_name) => TlsProbe { server_name, ..plain(address) },
        None => with_address(at, address, report)?,
    };
    Some(TlsProbe {
        valid_for: transpose(valid_for)?.unwrap_or(default.valid_for),
        ca_file: transpose(ca_file)?,
        starttls: transpose(starttls)?,
        file: transpose(file)?,
        ..default
    })
}

/// A restart renews no certificate, and where the check says nothing of it is meant for other failures: `file` tells
/// them apart.
pub(in crate::config) fn warn_of_restarts_in_vain(check: &Check, at: &At, report: &mut Report) {
    let Probe::Tls(probe) = &check.probe else { return };
    let restarts =
        check.recovery.steps.first().is_some_and(|step| matches!(step, Step::Restart | Step::Reload));
    if let Some(unit) = &check.unit
        && restarts
        && probe.file.is_none()
        && !probe.valid_for.is_zero()
    {
        report.warn(
            at,
            format!(
                "{unit} is restarted also for a certificate that nobody has renewed; with `file` only for one that has \
                 been, or say what to `recover`"
            ),
        );
    }
}

/// With the address's host as the name: it must be one that a certificate can have.
fn with_address(at: &Field<'_>, address: HostPort, report: &mut Report) -> Option<TlsProbe> {
    server_name(&address.host).map_err(|message| report.error(&at.at, message)).ok()?;
    Some(plain(address))
}

fn plain(address: HostPort) -> TlsProbe {
    let server_name = address.host.clone();
    let valid_for = TlsProbe::VALID_FOR;
    TlsProbe { address, server_name, valid_for, ca_file: None, starttls: None, file: None }
}

fn server_name(text: &str) -> Result<String, String> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("no certificate can be for `{text}`; expected {NAME}")),
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    placeholders::refuse(text, placeholders::WRITE_VALUE)?;
    if !text.starts_with('/') {
        return Err(format!("`{text}` is not an absolute path: it begins with `/`"));
    }
    Ok(PathBuf::from(text))
}
