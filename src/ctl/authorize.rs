//! `stealthctl authorize`: writes down, as root, what the daemon may ask systemd for.
//!
//! In: the configuration, which root owns, and systemd's word on which of its units are aliases: polkit is asked about a
//! unit's own name, whatever name the job was asked for by. Out: a file of lines `VERB UNIT` that polkit's rule for the daemon looks into,
//! replaced in one rename: a question that polkit is asked meanwhile sees the old list or the new, never half of one.
//! A configuration that is refused changes nothing.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zbus::OwnedObjectPath;

use super::exit::{Exit, Failure};
use super::text::inert;
use super::validate::default_file;
use crate::bus::Bus;
use crate::config;
use crate::unit::UnitName;

/// The service's start waits for this command, and does not hang on a bus that does.
const PATIENCE: Duration = Duration::from_secs(5);

/// A unit as `ListUnitsByNames` tells of it: its own name, and nine things of no interest here.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    /// One answer for each name, in their order, whether such a unit is loaded or there at all.
    fn list_units_by_names(&self, names: &[&str]) -> zbus::Result<Vec<Listed>>;
}

pub(super) async fn authorize(config: Option<PathBuf>, output: &Path, bus: Bus) -> Result<Exit, Failure> {
    let file = config.map_or_else(|| default_file(bus), Ok)?;
    let config = config::load(&file).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        let more = match problems.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let (output, first) = (output.display(), inert(&first));
        Failure::new(Exit::Config, format!("{output} stays as it is: {first}{more}"))
    })?;
    let mut pairs = config::permitted(&config);
    let asked = tokio::time::timeout(PATIENCE, with_own_names(bus, &pairs)).await;
    // Without systemd's answer the names stand as they are written, which is right for all but aliases.
    if let Ok(Ok(own)) = asked {
        pairs.extend(own);
    }
    let list: String = pairs.iter().map(|(verb, unit)| format!("{verb} {unit}\n")).collect();
    replace(output, list.as_bytes()).map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::CannotCreate,
        };
        Failure::new(exit, format!("{} cannot be written: {error}", output.display()))
    })?;
    Ok(Exit::Ok)
}

/// The same pairs, under the names that systemd itself has for the units.
async fn with_own_names(
    bus: Bus,
    pairs: &BTreeSet<(&'static str, UnitName)>,
) -> zbus::Result<Vec<(&'static str, UnitName)>> {
    let names: Vec<&str> = pairs.iter().map(|(_, unit)| unit.as_str()).collect();
    let connection = match bus {
        Bus::System => zbus::Connection::system().await,
        Bus::User => zbus::Connection::session().await,
    }?;
    let listed = SystemdProxy::new(&connection).await?.list_units_by_names(&names).await?;
    let own =
        pairs.iter().zip(listed).filter_map(|((verb, _), line)| Some((*verb, UnitName::new(&line.0).ok()?)));
    Ok(own.collect())
}

/// Puts `content` in the place of the file at `path`, readable by all, whole or not at all.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("that is no file name"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(hidden);
    let written = write_new(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // What a process of this number left behind when it was killed; `create_new` follows no link and takes no other's file.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    // Not at creation: the umask would have its say there.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()
}
