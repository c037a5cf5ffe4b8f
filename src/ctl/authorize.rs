//! `stealthctl authorize`: writes down, as root, what the daemon may ask systemd for.
//!
//! In: the configuration, which root owns, and from systemd the names behind aliases, for by those it asks polkit. Out:
//! a file of lines `VERB UNIT` that polkit's rule for the daemon looks into, replaced in one rename: a question that
//! polkit is asked meanwhile sees the old list or the new, never half of one; before it the command lines of `command`
//! probes (`probe_files.rs`), and after it the same list as a rule (`permitted_rule.rs`). A configuration that is refused
//! changes nothing.
//!
//! In a user manager nobody asks polkit: there it is only about the command lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use zbus::OwnedObjectPath;

use super::exit::{Exit, Failure};
use super::text::sanitize;
use super::validate::default_file;
use super::{permitted_rule, probe_files};
use crate::bus::Bus;
use crate::check::CheckName;
use crate::config;
use crate::unit::UnitName;

/// A systemd that takes longer is asked in vain, and the names stand as they are written.
const PATIENCE: Duration = Duration::from_secs(5);

/// A unit as `ListUnitsByNames` has it: its own name, description, states, what it follows, its object, its job.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    fn list_units_by_names(&self, names: &[&str]) -> zbus::Result<Vec<Listed>>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
}

/// Where it is written.
#[derive(Debug)]
pub(super) struct Places {
    /// The list for polkit.
    pub output: PathBuf,
    /// The same as a rule of polkit's.
    pub rule: PathBuf,
    /// The directory of command lines; where the units look unless told otherwise.
    pub probes: Option<PathBuf>,
}

pub(super) async fn authorize(config: Option<PathBuf>, places: Places, bus: Bus) -> Result<Exit, Failure> {
    let Places { output, rule, probes } = places;
    let file = config.map_or_else(|| default_file(bus), Ok)?;
    let config = config::load(&file).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        let more = match problems.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let (output, first) = (output.display(), sanitize(&first));
        Failure::new(Exit::Config, format!("{output} stays as it is: {first}{more}"))
    })?;
    let probes = probes.map_or_else(|| probe_files::directory(bus), Ok)?;
    let gone = probe_files::write(&probes, &config).map_err(|error| unwritten(&probes, &error))?;
    if !gone.is_empty() {
        // What they run is nobody's any more, and the daemon will not be permitted to end it.
        let _ = tokio::time::timeout(PATIENCE, stop(&gone, bus)).await;
    }
    if bus == Bus::User {
        return Ok(Exit::Ok);
    }
    let mut pairs = config::permitted(&config);
    let units: BTreeSet<UnitName> = pairs.iter().map(|(_, unit)| unit.clone()).collect();
    let behind = tokio::time::timeout(PATIENCE, behind(&units, bus)).await.unwrap_or_default();
    let real: Vec<_> =
        pairs.iter().filter_map(|(verb, unit)| Some((*verb, behind.get(unit)?.clone()))).collect();
    pairs.extend(real);
    let list: String = pairs.iter().map(|(verb, unit)| format!("{verb} {unit}\n")).collect();
    replace(&output, list.as_bytes(), 0o644).map_err(|error| unwritten(&output, &error))?;
    if let Err(sentence) = permitted_rule::write(&rule, &pairs) {
        let _ = writeln!(io::stderr(), "stealthctl: {}", sanitize(&sentence));
    }
    Ok(Exit::Ok)
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::CannotCreate,
    };
    Failure::new(exit, format!("{} cannot be written: {error}", path.display()))
}

async fn connect(bus: Bus) -> zbus::Result<SystemdProxy<'static>> {
    let connection = match bus {
        Bus::System => zbus::Connection::system().await?,
        Bus::User => zbus::Connection::session().await?,
    };
    SystemdProxy::new(&connection).await
}

/// Ends the runs of commands that are not configured any more. Where systemd does not, they end by themselves.
async fn stop(checks: &[CheckName], bus: Bus) {
    let Ok(systemd) = connect(bus).await else { return };
    for unit in checks.iter().map(UnitName::of_probe) {
        let _ = systemd.stop_unit(unit.as_str(), "replace").await;
        let _ = systemd.reset_failed_unit(unit.as_str()).await;
    }
}

/// The units that have another name than they were asked for by. None where systemd cannot be asked: without a systemd
/// there is nobody to ask polkit either.
async fn behind(units: &BTreeSet<UnitName>, bus: Bus) -> BTreeMap<UnitName, UnitName> {
    let Ok(systemd) = connect(bus).await else { return BTreeMap::new() };
    let names: Vec<&str> = units.iter().map(UnitName::as_str).collect();
    let listed = match systemd.list_units_by_names(&names).await {
        Ok(listed) if listed.len() == names.len() => listed.into_iter().map(Some).collect(),
        // One name that systemd cannot load fails the question for all: then each by itself.
        _ => {
            let each = names.iter().map(async |name| systemd.list_units_by_names(&[name]).await.ok()?.pop());
            join_all(each).await
        }
    };
    let named = units.iter().zip(listed).filter_map(|(asked, listed)| {
        let real = UnitName::new(&listed?.0).ok()?;
        (real != *asked).then(|| (asked.clone(), real))
    });
    named.collect()
}

/// Puts `content` in the place of the file at `path`, with this mode, whole or not at all.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("that is no file name"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(hidden);
    let written = write_new(&temporary, content, mode).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // What a process of this number left behind when it was killed; `create_new` follows no link and takes no other's
    // file.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    // Not at creation: the umask would have its say there.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}
